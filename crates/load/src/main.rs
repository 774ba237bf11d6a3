//! Load on one HTTP/1.1 server from one thread, and what it took: one JSON line.
//!
//! `cargo run --release -p hanse-load -- ADDRESS PATH CONNECTIONS SECONDS [RATE [BODY_BYTES [PATHS]]]`
//!
//! Closed loop without a rate (or with 0): each connection sends the next request when it has its answer. Open loop with one: request
//! number n is due n/rate seconds after the start whether others are answered or not, and its latency counts from when it was
//! due, so that a server that stalls is charged for all who had to wait (coordinated omission). With PATHS, `{}` in PATH
//! goes round the numbers below it. Anything but a whole answer with status 200 is an error.

use std::collections::VecDeque;
use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};

type Outcome<T> = Result<T, Box<dyn Error>>;

const CHUNK: usize = 128 << 10;
/// A server that answers nothing for so long is not measured but broken.
const PATIENCE: Duration = Duration::from_secs(20);

struct Order {
    address: SocketAddr,
    requests: Vec<Vec<u8>>,
    connections: usize,
    time: Duration,
    rate: f64,
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let word = |at: usize| arguments.get(at).map(String::as_str);
    let number = |at: usize, default: f64| word(at).map_or(Ok(default), str::parse::<f64>);
    let address = word(0).ok_or("give ip:port")?.parse()?;
    let path = word(1).ok_or("give a path")?;
    let body = "x".repeat(number(5, 0.0)? as usize);
    let paths = number(6, 1.0)?.max(1.0) as usize;
    let order = Order {
        address,
        requests: (0..paths)
            .map(|n| request(address, &path.replace("{}", &n.to_string()), &body))
            .collect(),
        connections: number(2, 1.0)?.max(1.0) as usize,
        time: Duration::from_secs_f64(number(3, 3.0)?),
        rate: number(4, 0.0)?,
    };
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
    let mut load = Load::new(order)?;
    let took = load.run()?;
    println!("{}", load.report(took));
    Ok(())
}

fn request(address: SocketAddr, path: &str, body: &str) -> Vec<u8> {
    let head = match body.len() {
        0 => format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n"),
        len => format!("POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {len}\r\n\r\n"),
    };
    (head + body).into_bytes()
}

struct Load {
    order: Order,
    poll: rustix::fd::OwnedFd,
    connections: Vec<Connection>,
    idle: VecDeque<usize>,
    sent: u64,
    took_ns: Vec<u64>,
    body_bytes: u64,
    errors: u64,
    last_error: String,
    chunk: Vec<u8>,
}

impl Load {
    fn new(order: Order) -> Outcome<Self> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut load = Self {
            poll,
            connections: Vec::new(),
            idle: (0..order.connections).collect(),
            sent: 0,
            took_ns: Vec::new(),
            body_bytes: 0,
            errors: 0,
            last_error: String::new(),
            chunk: vec![0; CHUNK],
            order,
        };
        for at in 0..load.order.connections {
            let connection = load.connect(at)?;
            load.connections.push(connection);
        }
        Ok(load)
    }

    fn connect(&self, at: usize) -> Outcome<Connection> {
        let stream = TcpStream::connect(self.order.address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let token = epoll::EventData::new_u64(at as u64);
        epoll::add(&self.poll, &stream, token, epoll::EventFlags::IN)?;
        Ok(Connection {
            stream,
            writing: None,
            answer: Answer::default(),
            since: None,
        })
    }

    fn run(&mut self) -> Outcome<Duration> {
        let began = Instant::now();
        let mut events: Vec<epoll::Event> = Vec::with_capacity(1024);
        loop {
            let now = Instant::now();
            let is_over = now >= began + self.order.time;
            if is_over && self.idle.len() == self.connections.len() {
                return Ok(now - began);
            }
            if now >= began + self.order.time + PATIENCE {
                self.errors += (self.connections.len() - self.idle.len()) as u64;
                self.last_error = "no answer".to_owned();
                return Ok(now - began);
            }
            let wait = if is_over {
                Duration::from_millis(50)
            } else {
                self.send_due(began, now)
            };
            events.clear();
            let wait = Timespec {
                tv_sec: i64::try_from(wait.as_secs())?,
                tv_nsec: wait.subsec_nanos().into(),
            };
            epoll::wait(&self.poll, rustix::buffer::spare_capacity(&mut events), Some(&wait))?;
            for event in &events {
                let token = event.data.u64();
                self.progress(usize::try_from(token)?)?;
            }
        }
    }

    /// Send what is due; returns for how long nothing else will be.
    fn send_due(&mut self, began: Instant, now: Instant) -> Duration {
        if self.order.rate == 0.0 {
            while let Some(at) = self.idle.pop_front() {
                self.send(at, Instant::now());
            }
            return Duration::from_millis(50);
        }
        loop {
            let due = began + Duration::from_secs_f64(self.sent as f64 / self.order.rate);
            if due > now {
                return (due - now).min(Duration::from_millis(50));
            }
            let Some(at) = self.idle.pop_front() else {
                return Duration::from_millis(50);
            };
            self.send(at, due);
        }
    }

    fn send(&mut self, at: usize, since: Instant) {
        let which = (self.sent % self.order.requests.len() as u64) as usize;
        self.sent += 1;
        if let Some(connection) = self.connections.get_mut(at) {
            connection.since = Some(since);
            connection.writing = Some((which, 0));
            connection.write(&self.order.requests, &self.poll, at);
        }
    }

    fn progress(&mut self, at: usize) -> Outcome<()> {
        let Some(connection) = self.connections.get_mut(at) else {
            return Ok(());
        };
        connection.write(&self.order.requests, &self.poll, at);
        match connection.read(&mut self.chunk) {
            Ok(None) => return Ok(()),
            Ok(Some(body_bytes)) => {
                if let Some(since) = connection.since.take() {
                    self.took_ns.push(since.elapsed().as_nanos() as u64);
                }
                self.body_bytes += body_bytes;
            }
            Err(why) => {
                let was_asked = connection.since.take().is_some();
                self.errors += u64::from(was_asked);
                self.last_error = why;
                let fresh = self.connect(at)?;
                if let Some(connection) = self.connections.get_mut(at) {
                    *connection = fresh;
                }
                if !was_asked {
                    return Ok(());
                }
            }
        }
        self.idle.push_back(at);
        Ok(())
    }

    fn report(&mut self, took: Duration) -> String {
        self.took_ns.sort_unstable();
        let rank = |q: f64| {
            let at = (self.took_ns.len() as f64 * q) as usize;
            let ns = self.took_ns.get(at.min(self.took_ns.len().saturating_sub(1)));
            ns.copied().unwrap_or_default() as f64 / 1e3
        };
        let count = self.took_ns.len();
        serde_json::json!({
            "requests": count,
            "errors": self.errors,
            "last_error": self.last_error,
            "seconds": took.as_secs_f64(),
            "requests_per_s": count as f64 / took.as_secs_f64(),
            "body_bytes": self.body_bytes.checked_div(count as u64).unwrap_or_default(),
            "us": {"p50": rank(0.5), "p90": rank(0.9), "p99": rank(0.99), "p999": rank(0.999), "max": rank(1.0)},
        })
        .to_string()
    }
}

struct Connection {
    stream: TcpStream,
    /// Which request is being sent, and how much of it is.
    writing: Option<(usize, usize)>,
    answer: Answer,
    /// When the request that is on its way was due.
    since: Option<Instant>,
}

impl Connection {
    fn write(&mut self, requests: &[Vec<u8>], poll: &rustix::fd::OwnedFd, at: usize) {
        let Some((which, mut done)) = self.writing else {
            return;
        };
        let request = requests.get(which).map(Vec::as_slice).unwrap_or_default();
        let was_waiting = done > 0;
        let mut is_waiting = false;
        while let Some(rest) = request.get(done..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(written) => done += written,
                Err(cause) => {
                    // Any other failure shows when the answer is read.
                    is_waiting = cause.kind() == ErrorKind::WouldBlock;
                    break;
                }
            }
        }
        self.writing = is_waiting.then_some((which, done));
        if is_waiting || was_waiting {
            let wanted = if is_waiting {
                epoll::EventFlags::IN | epoll::EventFlags::OUT
            } else {
                epoll::EventFlags::IN
            };
            let _ = epoll::modify(poll, &self.stream, epoll::EventData::new_u64(at as u64), wanted);
        }
    }

    /// Length of the body when the answer is complete.
    fn read(&mut self, chunk: &mut [u8]) -> Result<Option<u64>, String> {
        loop {
            match self.stream.read(chunk) {
                Ok(0) => return Err("the connection was closed".to_owned()),
                Ok(len) => {
                    let data = chunk.get(..len).unwrap_or_default();
                    if let Some(body) = self.answer.take(data)? {
                        self.answer = Answer::default();
                        return Ok(Some(body));
                    }
                    if len < chunk.len() {
                        return Ok(None);
                    }
                }
                Err(cause) if cause.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(cause) => return Err(cause.to_string()),
            }
        }
    }
}

/// One answer as it comes in (RFC 9112 sections 6 and 7.1).
#[derive(Default)]
struct Answer {
    buffer: Vec<u8>,
    part: Part,
    body_bytes: u64,
}

#[derive(Default, Clone, Copy)]
enum Part {
    #[default]
    Head,
    /// Bytes of a body of known length that are still to come.
    Rest(u64),
    ChunkSize,
    /// Bytes of a chunk and its line end that are still to come.
    Chunk(u64),
    LastLine,
}

impl Answer {
    /// Take some bytes; the body's length when they complete the answer.
    fn take(&mut self, data: &[u8]) -> Result<Option<u64>, String> {
        self.buffer.extend_from_slice(data);
        let mut at = 0;
        let done = loop {
            let rest = self.buffer.get(at..).unwrap_or_default();
            let (used, next) = match self.part {
                Part::Head => match head(rest)? {
                    Some((used, next)) => (used, next),
                    None => break false,
                },
                Part::Rest(0) => break true,
                Part::Rest(left) | Part::Chunk(left) if rest.is_empty() && left > 0 => break false,
                Part::Rest(left) => {
                    let used = left.min(rest.len() as u64);
                    self.body_bytes += used;
                    (used as usize, Part::Rest(left - used))
                }
                Part::Chunk(0) => (0, Part::ChunkSize),
                Part::Chunk(left) => {
                    let used = left.min(rest.len() as u64);
                    (used as usize, Part::Chunk(left - used))
                }
                Part::ChunkSize => match httparse::parse_chunk_size(rest) {
                    Ok(httparse::Status::Complete((used, 0))) => (used, Part::LastLine),
                    Ok(httparse::Status::Complete((used, size))) => {
                        self.body_bytes += size;
                        (used, Part::Chunk(size + 2))
                    }
                    Ok(httparse::Status::Partial) => break false,
                    Err(cause) => return Err(cause.to_string()),
                },
                // Trailers are not expected of any server here.
                Part::LastLine if rest.starts_with(b"\r\n") => break true,
                Part::LastLine if rest.len() >= 2 => return Err("trailers".to_owned()),
                Part::LastLine => break false,
            };
            at += used;
            self.part = next;
        };
        self.buffer.drain(..at);
        Ok(done.then_some(self.body_bytes))
    }
}

fn head(data: &[u8]) -> Result<Option<(usize, Part)>, String> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(used) = response.parse(data).map_err(|cause| cause.to_string())? else {
        return Ok(None);
    };
    if response.code != Some(200) {
        return Err(format!("status {}", response.code.unwrap_or_default()));
    }
    let value = |name: &str| {
        let found = response
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name));
        found.and_then(|header| std::str::from_utf8(header.value).ok())
    };
    match value("content-length") {
        Some(length) => Ok(Some((used, Part::Rest(length.trim().parse().map_err(|_| "length")?)))),
        None => Ok(Some((used, Part::ChunkSize))),
    }
}
