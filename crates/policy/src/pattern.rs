//! Patterns of `like`: `Cedar's JSON form -> pieces -> whether a text fits`.

use serde_json::Value;

/// What a text must fit from end to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Any,
    Text(String),
}

impl Pattern {
    /// Read Cedar's JSON form; `None` when it is none.
    pub(crate) fn of(json: &Value) -> Option<Self> {
        let mut all = Vec::new();
        for piece in json.as_array()? {
            match (piece.get("Literal").and_then(Value::as_str), all.last_mut()) {
                // Two texts in a row are one, or the search for the first would pass over the place where both are.
                (Some(text), Some(Piece::Text(before))) => before.push_str(text),
                (Some(text), _) => all.push(Piece::Text(text.to_owned())),
                (None, _) if piece == "Wildcard" => all.push(Piece::Any),
                (None, _) => return None,
            }
        }
        Some(Self(all))
    }

    /// Whether a text fits. Greedy: what follows the last wildcard that was passed is tried further and further on.
    pub(crate) fn fits(&self, text: &str) -> bool {
        let Some((begin, rest)) = self.0.split_first() else {
            return text.is_empty();
        };
        let (mut ahead, mut left) = match begin {
            Piece::Any => (text, rest),
            Piece::Text(begin) => match (text.strip_prefix(begin.as_str()), rest) {
                (Some(ahead), []) => return ahead.is_empty(),
                (Some(ahead), rest) => (ahead, rest),
                (None, _) => return false,
            },
        };
        let mut after_any = *begin == Piece::Any;
        while let Some((piece, rest)) = left.split_first() {
            match piece {
                Piece::Any => after_any = true,
                Piece::Text(end) if rest.is_empty() && after_any => return ahead.ends_with(end.as_str()),
                Piece::Text(next) => {
                    let found = match after_any {
                        true => ahead.find(next.as_str()),
                        false => ahead.starts_with(next.as_str()).then_some(0),
                    };
                    let Some(at) = found else { return false };
                    ahead = ahead.get(at + next.len()..).unwrap_or_default();
                    after_any = false;
                }
            }
            left = rest;
        }
        after_any || ahead.is_empty()
    }
}
