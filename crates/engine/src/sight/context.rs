//! W3C Trace Context (level 1): `traceparent` in and out. `tracestate` is passed on as it is.

use std::fmt;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(super) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Version, trace id, parent id and flags with their hyphens, in version 00.
const LEN: usize = 55;
const SAMPLED: u8 = 1;

/// Which trace, which span of it, and whether it is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Context {
    pub(crate) trace_id: u128,
    pub(crate) span_id: u64,
    pub(crate) is_sampled: bool,
}

impl Context {
    /// What the headers say; `None` when they say nothing or nothing valid (section 3.2.2), or say it twice.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut all = headers.get_all(TRACEPARENT).iter();
        let only = all.next()?;
        if all.next().is_some() {
            return None;
        }
        Self::parse(only.to_str().ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let known = text.get(..LEN)?;
        let mut parts = known.split('-');
        let (version, trace_id, span_id, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        // A later version may say more behind another hyphen.
        let is_longer_well = version != "00" && text.as_bytes().get(LEN) == Some(&b'-');
        if version == "ff" || parts.next().is_some() || !(text.len() == LEN || is_longer_well) {
            return None;
        }
        hex(version, 2)?;
        let context = Self {
            trace_id: hex(trace_id, 32)?,
            span_id: u64::try_from(hex(span_id, 16)?).ok()?,
            is_sampled: hex(flags, 2)? & u128::from(SAMPLED) != 0,
        };
        (context.trace_id != 0 && context.span_id != 0).then_some(context)
    }

    pub(crate) fn header(&self) -> Option<HeaderValue> {
        HeaderValue::try_from(self.to_string()).ok()
    }
}

impl fmt::Display for Context {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = u8::from(self.is_sampled) * SAMPLED;
        write!(out, "00-{:032x}-{:016x}-{flags:02x}", self.trace_id, self.span_id)
    }
}

/// A number of exactly so many lower-case hexadecimal digits.
fn hex(text: &str, len: usize) -> Option<u128> {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let is_good = text.len() == len && text.bytes().all(is_hex);
    if is_good {
        u128::from_str_radix(text, 16).ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_read_is_written_again() {
        assert_eq!(Context::parse(GOOD).unwrap().to_string(), GOOD);
        let unsampled = GOOD.replace("-01", "-00");
        assert!(!Context::parse(&unsampled).unwrap().is_sampled);
    }

    #[test]
    fn a_later_version_may_say_more() {
        let more = GOOD.replace("00-", "01-") + "-whatever";
        assert_eq!(Context::parse(&more), Context::parse(GOOD));
    }

    #[test]
    fn what_the_standard_calls_invalid_is_nothing() {
        let zeroes = "0".repeat(32);
        for bad in [
            String::new(),
            GOOD.replace("00-0", "ff-0"),
            GOOD.to_uppercase(),
            format!("{GOOD}-more"),
            GOOD.replace("0af7651916cd43dd8448eb211c80319c", &zeroes),
            GOOD.replace("b7ad6b7169203331", &zeroes[..16]),
            GOOD.replace('-', "_"),
            GOOD.replace("b7ad", "b7äd"),
            GOOD[..54].to_owned(),
        ] {
            assert_eq!(Context::parse(&bad), None, "{bad}");
        }
    }

    #[test]
    fn a_trace_that_is_told_twice_is_none() {
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        assert!(Context::of(&headers).is_some());
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        assert_eq!(Context::of(&headers), None);
    }
}
