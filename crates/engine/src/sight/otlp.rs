//! Spans as OTLP says them: `spans -> ExportTraceServiceRequest`, in protobuf.
//!
//! Only writing, and only the dozen messages that are needed, numbered as in opentelemetry-proto 1.x (`trace/v1/trace.proto`
//! and what it includes): a field is its number, its wire type and its bytes (protobuf encoding, "Message Structure"). The
//! suite reads them back with the official package.

use bytes::Bytes;

use super::span::{Finished, Value};

const SCOPE: &str = "hanse-engine";
const ERROR: u64 = 2;

/// One request to a collector, from the engine that `resource` describes.
pub(super) fn encode(resource: &[(&'static str, String)], spans: &[Finished]) -> Bytes {
    let described = Message::default().all(1, resource, |(key, value)| pair(key, &Value::Text(value.clone())));
    let scope = Message::default().text(1, SCOPE).text(2, env!("CARGO_PKG_VERSION"));
    let of_scope = Message::default().message(1, scope).all(2, spans, span);
    let of_resource = Message::default().message(1, described).message(2, of_scope);
    Message::default().message(1, of_resource).0.into()
}

fn span(of: &Finished) -> Message {
    let message = Message::default()
        .bytes(1, &of.context.trace_id.to_be_bytes())
        .bytes(2, &of.context.span_id.to_be_bytes())
        .text(3, &of.state);
    let message = match of.parent {
        0 => message,
        parent => message.bytes(4, &parent.to_be_bytes()),
    };
    let message = message
        .text(5, &of.name)
        .number(6, of.kind as u64)
        .fixed(7, of.began_ns)
        .fixed(8, of.ended_ns)
        .all(9, &of.attributes, |(key, value)| pair(key, value));
    if of.has_failed {
        return message.message(15, Message::default().number(3, ERROR));
    }
    message
}

fn pair(key: &str, value: &Value) -> Message {
    let any = Message::default();
    let any = match value {
        Value::Text(text) => any.bytes(1, text.as_bytes()),
        Value::Truth(truth) => any.number(2, u64::from(*truth)),
        // A negative one takes ten bytes, as in every int64.
        Value::Number(number) => any.number(3, number.cast_unsigned()),
    };
    Message::default().text(1, key).message(2, any)
}

/// A protobuf message while it is written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    const VARINT: u64 = 0;
    const FIXED64: u64 = 1;
    const LEN: u64 = 2;

    fn number(mut self, field: u64, value: u64) -> Self {
        self.varint(field << 3 | Self::VARINT);
        self.varint(value);
        self
    }

    fn fixed(mut self, field: u64, value: u64) -> Self {
        self.varint(field << 3 | Self::FIXED64);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn bytes(mut self, field: u64, value: &[u8]) -> Self {
        self.varint(field << 3 | Self::LEN);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    /// A text that is not there when it is empty.
    fn text(self, field: u64, value: &str) -> Self {
        if value.is_empty() {
            return self;
        }
        self.bytes(field, value.as_bytes())
    }

    fn message(self, field: u64, value: Self) -> Self {
        self.bytes(field, &value.0)
    }

    fn all<T>(self, field: u64, values: &[T], write: impl Fn(&T) -> Self) -> Self {
        values
            .iter()
            .fold(self, |message, value| message.message(field, write(value)))
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_standard_shows() {
        // The examples of protobuf's "Encoding" page.
        assert_eq!(Message::default().number(1, 150).0, [0x08, 0x96, 0x01]);
        assert_eq!(
            Message::default().text(2, "testing").0,
            [0x12, 0x07, b't', b'e', b's', b't', b'i', b'n', b'g']
        );
        let inner = Message::default().number(1, 150);
        assert_eq!(Message::default().message(3, inner).0, [0x1a, 0x03, 0x08, 0x96, 0x01]);
        assert_eq!(Message::default().number(3, (-2_i64).cast_unsigned()).0.len(), 11);
    }
}
