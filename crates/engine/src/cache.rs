//! Compiled components on disk: `component -> machine code`, compiled once per engine build.
//!
//! The directory belongs to this engine alone (mode 0700). A file is written aside, synced and renamed, and carries its
//! digest in a second file; one that does not match is set aside as `.bad` and the component compiled again. A file that was
//! compared once since the system started, and not touched since, is not read again (`trust`). A disk that is full costs time
//! at the next start, never a workload.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use wasmtime::Engine;
use wasmtime::component::Component;

use crate::component::{Digest, digest_hex};
use crate::error::EngineError;
use crate::stats::Registry;
use crate::trust::{Trust, note_path};
use crate::worker::in_memory;

const PIECE_BYTES: usize = 256 << 10;

/// The cache directory of one engine.
pub(crate) struct Cache {
    directory: PathBuf,
    fingerprint: String,
    trust: Trust,
}

/// Numbers the files written aside, over all engines of the process, which may share a directory.
static WRITTEN: AtomicU64 = AtomicU64::new(0);

impl Cache {
    /// Open the directory, made when missing.
    ///
    /// # Errors
    /// `cache.io` when it cannot be made or is no directory.
    pub(crate) fn open(directory: &Path, fingerprint: String) -> Result<Self, EngineError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|cause| {
                EngineError::new(
                    "cache.io",
                    format!("the cache directory {} cannot be made: {cause}", directory.display()),
                    "choose a directory that this user may write to",
                )
            })?;
        Ok(Self {
            directory: directory.to_owned(),
            fingerprint,
            trust: Trust::of(directory),
        })
    }

    /// Return the compiled form of the component `bytes` with the digest `digest` (hexadecimal).
    ///
    /// # Errors
    /// `component.compile_failed`.
    pub(crate) fn compile(
        &self,
        engine: &Engine,
        digest: &str,
        bytes: &[u8],
        stats: &Registry,
    ) -> Result<Component, EngineError> {
        if let Some(component) = self.get(engine, digest, stats) {
            return Ok(component);
        }
        let path = self.path(digest);
        // Nodes of one machine may share the directory: one of them compiles, the others wait for it. Without the lock
        // (a full disk) each one compiles for itself.
        let _lock = self.lock(digest).ok();
        if let Some(component) = self.read(engine, &path, stats) {
            stats.cache_hits.fetch_add(1, Ordering::Relaxed);
            return Ok(component);
        }
        stats.cache_misses.fetch_add(1, Ordering::Relaxed);
        let component = compile(engine, bytes).map_err(compile_failed)?;
        let stored = component
            .serialize()
            .map_err(std::io::Error::other)
            .and_then(|code| self.store(&path, &code));
        if stored.is_err() {
            stats.cache_write_failures.fetch_add(1, Ordering::Relaxed);
            return Ok(component);
        }
        // Mapped from the file, the code is no memory of the process, as after a restart.
        Ok(self.read(engine, &path, stats).unwrap_or(component))
    }

    /// Return the compiled form of the component with this digest, if it was compiled before; such a one has been inspected.
    pub(crate) fn get(&self, engine: &Engine, digest: &str, stats: &Registry) -> Option<Component> {
        let component = self.read(engine, &self.path(digest), stats)?;
        stats.cache_hits.fetch_add(1, Ordering::Relaxed);
        Some(component)
    }

    /// Open the compiled form that `get` or `compile` has just returned, to be handed to another process.
    ///
    /// # Errors
    /// The system's, where the code is neither on disk nor to be had in memory.
    pub(crate) fn open_code(&self, digest: &str, component: &Component) -> std::io::Result<File> {
        match File::open(self.path(digest)) {
            Ok(file) => Ok(file),
            // The disk was full.
            Err(_) => in_memory(&component.serialize().map_err(std::io::Error::other)?),
        }
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.directory.join(format!("{digest}-{}.cwasm", self.fingerprint))
    }

    fn read(&self, engine: &Engine, path: &Path, stats: &Registry) -> Option<Component> {
        if (self.trust.holds(path) || self.is_whole(path, stats).ok()?)
            && let Some(component) = deserialize(engine, path)
        {
            return Some(component);
        }
        // Kept for whoever wants to know why; when even that fails the new file replaces it.
        let _ = fs::rename(path, path.with_extension("bad"));
        None
    }

    /// Compare a file with its digest, and remember it when they agree.
    fn is_whole(&self, path: &Path, stats: &Registry) -> std::io::Result<bool> {
        let before = self.trust.note(path);
        let found = digest_of(path)?;
        stats.cache_hashed.fetch_add(1, Ordering::Relaxed);
        let expected = fs::read(digest_path(path)).unwrap_or_default();
        if found.as_bytes() != expected {
            return Ok(false);
        }
        if let Some(note) = before
            && self.trust.note(path).as_ref() == Some(&note)
        {
            // Without it the file is read again next time.
            let _ = self.replace(&note_path(path), note.as_bytes());
        }
        Ok(true)
    }

    /// Hold the right to compile one component, until the file returned is dropped.
    fn lock(&self, digest: &str) -> std::io::Result<File> {
        let lock = File::create(self.directory.join(format!("{digest}.lock")))?;
        lock.lock()?;
        Ok(lock)
    }

    fn store(&self, path: &Path, code: &[u8]) -> std::io::Result<()> {
        self.replace(&digest_path(path), digest_hex(code).as_bytes())?;
        self.replace(path, code)?;
        File::open(&self.directory)?.sync_all()
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
        let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
        let aside = self.directory.join(format!("{}-{number}.tmp", std::process::id()));
        let written = File::create(&aside).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&aside, path)
        });
        if written.is_err() {
            // The first error matters; what is left over is overwritten or harmless.
            let _ = fs::remove_file(&aside);
        }
        written
    }
}

/// Compile on threads of its own: the memory they took comes back when they end.
fn compile(engine: &Engine, bytes: &[u8]) -> wasmtime::Result<Component> {
    match rayon::ThreadPoolBuilder::new().build() {
        Ok(threads) => threads.install(|| Component::from_binary(engine, bytes)),
        Err(_) => Component::from_binary(engine, bytes),
    }
}

/// Map compiled code from our own cache.
#[allow(unsafe_code)]
fn deserialize(engine: &Engine, path: &Path) -> Option<Component> {
    // SAFETY: the file was written by `store` of an engine with the same fingerprint into a directory that only this user
    // may write to, and its digest was checked since the system started and the file not changed since. Mapping it (rather than copying) keeps the code out of the
    // process's own memory; `store` replaces files by rename and never writes into a mapped one.
    unsafe { Component::deserialize_file(engine, path) }.ok()
}

/// The digest of a file, read in pieces since it may have 50 MiB.
fn digest_of(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut digest = Digest::new();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(digest.finish_hex()),
            len => digest.update(piece.get(..len).unwrap_or_default()),
        }
    }
}

fn digest_path(path: &Path) -> PathBuf {
    path.with_extension("sha256")
}

fn compile_failed(cause: wasmtime::Error) -> EngineError {
    EngineError::new(
        "component.compile_failed",
        format!("the component does not compile: {cause:#}"),
        "validate it with `wasm-tools validate`; it may use a feature this engine has switched off",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Runtime;

    fn counts(stats: &Registry) -> (u64, u64) {
        (
            stats.cache_hits.load(Ordering::Relaxed),
            stats.cache_misses.load(Ordering::Relaxed),
        )
    }

    #[test]
    fn compiled_code_is_used_again_and_a_damaged_file_is_set_aside() {
        let directory = crate::testing::Directory::new("cache");
        let runtime = Runtime::new(1).unwrap();
        let stats = Registry::default();
        let cache = Cache::open(directory.path(), runtime.fingerprint()).unwrap();
        let bytes = hanse_guests::build("hello").unwrap();
        let digest = digest_hex(&bytes);
        let compile = || cache.compile(runtime.engine(), &digest, &bytes, &stats).unwrap();
        compile();
        compile();
        assert_eq!(counts(&stats), (1, 1));

        let path = directory
            .path()
            .join(format!("{digest}-{}.cwasm", runtime.fingerprint()));
        let mut code = fs::read(&path).unwrap();
        let middle = code.len() / 2;
        code[middle] ^= 1;
        fs::remove_file(&path).unwrap();
        fs::write(&path, &code).unwrap();
        compile();
        assert_eq!(counts(&stats), (1, 2));
        assert!(path.with_extension("bad").exists());
        compile();
        assert_eq!(counts(&stats), (2, 2));
    }

    /// Load until the file is old enough to be remembered.
    fn settle(mut load: impl FnMut() -> u64) {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        let mut before = load();
        loop {
            let hashed = load();
            if hashed == before {
                return;
            }
            assert!(std::time::Instant::now() < until, "a file is never remembered");
            before = hashed;
        }
    }

    #[test]
    fn a_file_is_read_whole_once_and_again_when_a_byte_of_it_was_changed_in_place() {
        use std::os::unix::fs::FileExt;

        let directory = crate::testing::Directory::new("cache-trust");
        let runtime = Runtime::new(1).unwrap();
        let stats = Registry::default();
        let bytes = hanse_guests::build("hello").unwrap();
        let digest = digest_hex(&bytes);
        // A new engine each time, as after a restart.
        let load = || {
            let cache = Cache::open(directory.path(), runtime.fingerprint()).unwrap();
            cache.compile(runtime.engine(), &digest, &bytes, &stats).unwrap();
            stats.cache_hashed.load(Ordering::Relaxed)
        };
        settle(load);
        let (hashed, misses) = (load(), counts(&stats).1);
        assert_eq!((load(), counts(&stats).1), (hashed, misses));

        let path = directory
            .path()
            .join(format!("{digest}-{}.cwasm", runtime.fingerprint()));
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let at = file.metadata().unwrap().len() / 2;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
        assert!(load() > hashed);
        assert_eq!(counts(&stats).1, misses + 1, "compiled again");
        assert!(path.with_extension("bad").exists());
    }

    #[test]
    fn where_others_may_write_every_file_is_read_each_time() {
        use std::os::unix::fs::PermissionsExt;

        let directory = crate::testing::Directory::new("cache-shared");
        let runtime = Runtime::new(1).unwrap();
        let stats = Registry::default();
        let bytes = hanse_guests::build("hello").unwrap();
        let digest = digest_hex(&bytes);
        let load = || {
            let cache = Cache::open(directory.path(), runtime.fingerprint()).unwrap();
            cache.compile(runtime.engine(), &digest, &bytes, &stats).unwrap();
            stats.cache_hashed.load(Ordering::Relaxed)
        };
        settle(load);
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let hashed = load();
        assert_eq!(load(), hashed + 1);
    }

    #[test]
    fn a_cache_that_cannot_be_written_costs_no_workload() {
        let directory = crate::testing::Directory::new("cache-gone");
        let runtime = Runtime::new(1).unwrap();
        let stats = Registry::default();
        let cache = Cache::open(directory.path(), runtime.fingerprint()).unwrap();
        fs::remove_dir_all(directory.path()).unwrap();
        let bytes = hanse_guests::build("hello").unwrap();
        cache
            .compile(runtime.engine(), &digest_hex(&bytes), &bytes, &stats)
            .unwrap();
        assert_eq!(stats.cache_write_failures.load(Ordering::Relaxed), 1);
    }
}
