//! An HTTP/1.1 client that hides nothing: what came over the wire, and whether it was whole.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    /// Whether the body ended as its framing said it would.
    pub is_whole: bool,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn error(&self) -> &str {
        self.header("hanse-error").unwrap_or("none")
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub fn get(address: &str, path: &str) -> Reply {
    send(
        address,
        &format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n"),
        b"",
    )
}

/// Send a GET with one more header.
pub fn get_with(address: &str, path: &str, header: &str) -> Reply {
    send(
        address,
        &format!("GET {path} HTTP/1.1\r\nhost: test\r\n{header}\r\nconnection: close\r\n\r\n"),
        b"",
    )
}

pub fn post(address: &str, path: &str, body: &[u8]) -> Reply {
    let len = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {len}\r\n\r\n");
    send(address, &head, body)
}

pub fn send(address: &str, head: &str, body: &[u8]) -> Reply {
    let mut stream = open(address);
    stream.write_all(head.as_bytes()).unwrap();
    // Who reads only when all is written waits for a server that answers meanwhile, as that waits for him.
    let mut writing = stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // A server that refuses early may close before the whole body is written.
            let _ = writing.write_all(body);
        });
        receive(stream)
    })
}

pub fn open(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

pub fn receive(mut stream: impl Read) -> Reply {
    let mut bytes = Vec::new();
    // A reset after the answer is one way to say that the body broke off.
    let _ = stream.read_to_end(&mut bytes);
    let split = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    let split = split.unwrap_or_else(|| panic!("no answer but {:?}", String::from_utf8_lossy(&bytes)));
    let head = String::from_utf8(bytes[..split].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut reply = Reply {
        status,
        head,
        body: bytes.split_off(split + 4),
        is_whole: false,
    };
    if reply.header("transfer-encoding") == Some("chunked") {
        (reply.body, reply.is_whole) = unchunk(&reply.body);
    } else {
        let expected: usize = reply.header("content-length").map_or(0, |len| len.parse().unwrap());
        reply.is_whole = reply.body.len() == expected;
    }
    reply
}

fn unchunk(mut bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut whole = Vec::new();
    while let Some(line) = bytes.windows(2).position(|window| window == b"\r\n") {
        let len = usize::from_str_radix(std::str::from_utf8(&bytes[..line]).unwrap(), 16).unwrap();
        let rest = &bytes[line + 2..];
        if len == 0 {
            return (whole, true);
        }
        if rest.len() < len + 2 {
            whole.extend_from_slice(&rest[..rest.len().min(len)]);
            return (whole, false);
        }
        whole.extend_from_slice(&rest[..len]);
        bytes = &rest[len + 2..];
    }
    (whole, false)
}
