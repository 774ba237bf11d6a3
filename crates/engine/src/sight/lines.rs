//! The access log: one JSON object a line, of every request that went wrong and of a share of the others.
//!
//! Written by a thread of its own, out of a bounded queue. A file that was moved away (logrotate) is made anew.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{SystemTime, UNIX_EPOCH};

use http::Method;
use serde_json::json;

use crate::config::AccessLog;
use crate::error::EngineError;
use crate::stream::Stream;

const QUEUE: usize = 4096;
/// Lines written before the file is looked at again.
const BATCH: usize = 256;

/// Where lines are handed in.
#[derive(Clone)]
pub(super) struct AccessLines(Arc<Inner>);

struct Inner {
    queue: SyncSender<String>,
    ratio_ppm: u32,
    draw: Stream,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    written: AtomicU64,
    lost: AtomicU64,
}

impl AccessLines {
    /// # Errors
    /// `access_log.io` when the file cannot be opened.
    pub(super) fn open(config: &AccessLog) -> Result<Self, EngineError> {
        let failed = |cause: std::io::Error| {
            EngineError::new(
                "access_log.io",
                format!("the access log {} cannot be written: {cause}", config.path.display()),
                "name a file in a directory that the node may write to",
            )
        };
        let file = open(&config.path).map_err(failed)?;
        let (queue, waiting) = sync_channel(QUEUE);
        let counts = Arc::new(Counts::default());
        let (path, counted) = (config.path.clone(), counts.clone());
        std::thread::Builder::new()
            .name("hanse-access-log".to_owned())
            .spawn(move || write(&path, file, &waiting, &counted))
            .map_err(EngineError::setup)?;
        Ok(Self(Arc::new(Inner {
            queue,
            ratio_ppm: config.ratio_ppm,
            draw: Stream::new(0, "access-log"),
            counts,
        })))
    }

    /// Whether the next request is among those that are told even if nothing is wrong with it.
    pub(super) fn draw(&self) -> bool {
        self.0.draw.below(1_000_000) < self.0.ratio_ppm as usize
    }

    pub(super) fn counts(&self) -> (u64, u64) {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (get(&self.0.counts.written), get(&self.0.counts.lost))
    }
}

/// One request, as far as it may be told.
pub(super) struct Line {
    pub(super) lines: AccessLines,
    pub(super) is_drawn: bool,
    pub(super) method: Method,
    pub(super) protocol: &'static str,
    pub(super) route: Option<String>,
    pub(super) workload: Option<String>,
    pub(super) path: Option<String>,
    /// What kind of principal, not which one.
    pub(super) principal: &'static str,
    pub(super) trace: Option<String>,
    pub(super) status: u16,
    pub(super) error: Option<String>,
    /// The node that answered.
    pub(super) node: Option<String>,
    pub(super) is_broken: bool,
    pub(super) took_us: u64,
    pub(super) bytes: u64,
}

impl Line {
    /// Hand the line in, if it went wrong or was drawn.
    pub(super) fn tell(self) {
        let is_wrong = self.status >= 500 || self.error.is_some() || self.is_broken;
        if !is_wrong && !self.is_drawn {
            return;
        }
        let time_us = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX));
        let mut line = json!({
            "time_us": time_us,
            "method": self.method.as_str(),
            "protocol": self.protocol,
            "route": self.route,
            "workload": self.workload,
            "status": self.status,
            "error": self.error,
            "broken_off": self.is_broken,
            "principal": self.principal,
            "node": self.node,
            "duration_us": self.took_us,
            "bytes_out": self.bytes,
            "trace": self.trace,
        });
        if let (Some(path), Some(fields)) = (self.path, line.as_object_mut()) {
            fields.insert("path".to_owned(), path.into());
        }
        let inner = &self.lines.0;
        if inner.queue.try_send(format!("{line}\n")).is_err() {
            inner.counts.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

/// Write what comes until nobody can hand in any more.
fn write(path: &Path, first: File, waiting: &Receiver<String>, counts: &Counts) {
    let mut file = Some(first);
    while let Ok(line) = waiting.recv() {
        let (mut text, mut lines) = (line, 1);
        while lines < BATCH
            && let Ok(more) = waiting.try_recv()
        {
            text.push_str(&more);
            lines += 1;
        }
        if !file.as_ref().is_some_and(|file| is_at(file, path)) {
            file = open(path).ok();
        }
        let written = file
            .as_mut()
            .is_some_and(|file| file.write_all(text.as_bytes()).is_ok());
        let count = if written { &counts.written } else { &counts.lost };
        count.fetch_add(lines as u64, Ordering::Relaxed);
    }
}

/// Whether the open file is still the one of that name.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), path.metadata()) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}
