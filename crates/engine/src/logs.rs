//! What a workload's owner can read: lines of its guests and of its faults, in a ring of bounded size.
//!
//! Rings live in memory only. Shipping lines elsewhere is the agent's work; it polls with the last number it saw.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

const MAX_LINE_BYTES: usize = 4096;
const WRITE_PERMIT_BYTES: usize = 64 << 10;

/// One line of a workload's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Number of the line, from 1, without gaps; gaps seen by a reader are lines that fell out of the ring.
    pub seq: u64,
    /// Wall time in microseconds since 1970.
    pub time_us: u64,
    /// `stdout`, `stderr` or `fault`.
    pub stream: &'static str,
    /// The text, at most 4096 bytes.
    pub text: String,
}

/// The last lines of one workload.
#[derive(Debug)]
pub(crate) struct LogRing {
    capacity: usize,
    lines: Mutex<Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    last_seq: u64,
    kept: VecDeque<LogLine>,
}

impl LogRing {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            lines: Mutex::default(),
        }
    }

    pub(crate) fn push(&self, stream: &'static str, text: &[u8]) {
        let cut = text.get(..MAX_LINE_BYTES).unwrap_or(text);
        let text = String::from_utf8_lossy(cut).into_owned();
        let time_us = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX));
        let mut lines = self.lock();
        lines.last_seq += 1;
        let seq = lines.last_seq;
        if lines.kept.len() == self.capacity {
            lines.kept.pop_front();
        }
        lines.kept.push_back(LogLine {
            seq,
            time_us,
            stream,
            text,
        });
    }

    /// Return at most `limit` lines with a number above `after`, oldest first.
    pub(crate) fn read(&self, after: u64, limit: usize) -> Vec<LogLine> {
        let lines = self.lock();
        let start = lines.kept.partition_point(|line| line.seq <= after);
        lines.kept.iter().skip(start).take(limit).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One output stream of one instance; cuts what is written into lines and stops at the request's budget.
#[derive(Clone)]
pub(crate) struct GuestOutput {
    shared: Arc<Shared>,
}

struct Shared {
    ring: Arc<LogRing>,
    stream: &'static str,
    budget: Arc<AtomicUsize>,
    partial: Mutex<Vec<u8>>,
}

impl GuestOutput {
    /// `budget` is the number of bytes left for the request, shared by its streams.
    pub(crate) fn new(ring: Arc<LogRing>, stream: &'static str, budget: Arc<AtomicUsize>) -> Self {
        Self {
            shared: Arc::new(Shared {
                ring,
                stream,
                budget,
                partial: Mutex::default(),
            }),
        }
    }

    fn accept(&self, bytes: &[u8]) {
        let shared = &self.shared;
        let mut granted = 0;
        let spent = shared
            .budget
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                granted = bytes.len().min(left);
                (left > 0).then_some(left - granted)
            });
        if spent.is_err() {
            return;
        }
        let mut partial = shared.partial.lock().unwrap_or_else(PoisonError::into_inner);
        for piece in bytes
            .get(..granted)
            .unwrap_or(bytes)
            .split_inclusive(|byte| *byte == b'\n')
        {
            match piece.strip_suffix(b"\n") {
                Some(end) if partial.is_empty() => shared.ring.push(shared.stream, end),
                Some(end) => {
                    partial.extend_from_slice(end);
                    shared.ring.push(shared.stream, &partial);
                    partial.clear();
                }
                None => partial.extend_from_slice(piece),
            }
        }
        if partial.len() > MAX_LINE_BYTES {
            shared.ring.push(shared.stream, &partial);
            partial.clear();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let partial = self.partial.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !partial.is_empty() {
            self.ring.push(self.stream, partial);
        }
    }
}

impl IsTerminal for GuestOutput {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestOutput {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl AsyncWrite for GuestOutput {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.accept(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl OutputStream for GuestOutput {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.accept(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_PERMIT_BYTES)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for GuestOutput {
    async fn ready(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(ring: &LogRing, after: u64) -> Vec<String> {
        ring.read(after, 100).into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn ring_keeps_the_newest_lines_and_their_numbers() {
        let ring = LogRing::new(2);
        for text in [b"a", b"b", b"c"] {
            ring.push("fault", text);
        }
        let lines = ring.read(0, 100);
        assert_eq!(lines.iter().map(|line| line.seq).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(texts(&ring, 2), ["c"]);
    }

    #[test]
    fn output_is_cut_into_lines_and_a_rest_is_kept() {
        let ring = Arc::new(LogRing::new(10));
        let output = GuestOutput::new(ring.clone(), "stdout", Arc::new(AtomicUsize::new(100)));
        output.accept(b"one\ntw");
        output.accept(b"o\nrest");
        assert_eq!(texts(&ring, 0), ["one", "two"]);
        drop(output);
        assert_eq!(texts(&ring, 2), ["rest"]);
    }

    #[test]
    fn output_never_exceeds_the_budget() {
        let ring = Arc::new(LogRing::new(10));
        let output = GuestOutput::new(ring.clone(), "stdout", Arc::new(AtomicUsize::new(5)));
        output.accept(b"123456789\n");
        output.accept(b"more\n");
        drop(output);
        assert_eq!(texts(&ring, 0), ["12345"]);
    }
}
