//! Which compiled files need no second look: `file -> seen whole since the system started, and not touched since`.
//!
//! Reading 50 MiB to compare a digest takes longer than everything else a load does. A file that was read whole and
//! matched is remembered by the numbers the kernel keeps for it: device, inode, size, and the times of its last change of content
//! and of anything at all (ctime, which no program can set back). A note holds for one start of the system, and only in a
//! directory that nobody else may write to. What it catches: files that were written to, replaced, cut off or restored. What it
//! does not: whoever runs as this user, or as root, and bits that a disk turns by itself between two starts of the system.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// A file this young could change again without a new time: the kernel's clock for files has ticks of up to 10 ms.
const YOUNG: Duration = Duration::from_millis(100);

/// Whether notes may be believed in one directory, and from which start of the system.
#[derive(Debug)]
pub(crate) struct Trust {
    /// `None` where nothing is believed.
    boot: Option<Boot>,
}

#[derive(Debug)]
struct Boot {
    id: String,
    user: u32,
}

impl Trust {
    /// Look at `directory`; without `/proc`, or where others may write, every file is read each time.
    pub(crate) fn of(directory: &Path) -> Self {
        let boot = || {
            let user = fs::metadata("/proc/self").ok()?.uid();
            let id = fs::read_to_string(BOOT_ID).ok()?.trim().to_owned();
            is_only_ours(&fs::metadata(directory).ok()?, user).then_some(Boot { id, user })
        };
        Self { boot: boot() }
    }

    /// Return what a note about `path` would say now; `None` when it may not be believed, or not yet.
    pub(crate) fn note(&self, path: &Path) -> Option<String> {
        let boot = self.boot.as_ref()?;
        let file = fs::symlink_metadata(path).ok()?;
        let changed = UNIX_EPOCH
            + Duration::new(
                u64::try_from(file.ctime()).ok()?,
                u32::try_from(file.ctime_nsec()).ok()?,
            );
        let is_settled = SystemTime::now().duration_since(changed).is_ok_and(|age| age > YOUNG);
        (file.is_file() && is_settled && is_only_ours(&file, boot.user)).then(|| {
            format!(
                "boot {}\ndevice {} inode {} size {}\nmodified {}.{:09} changed {}.{:09}\n",
                boot.id,
                file.dev(),
                file.ino(),
                file.size(),
                file.mtime(),
                file.mtime_nsec(),
                file.ctime(),
                file.ctime_nsec(),
            )
        })
    }

    /// Whether `path` was seen whole, and is the same as then.
    pub(crate) fn holds(&self, path: &Path) -> bool {
        self.note(path)
            .is_some_and(|now| fs::read_to_string(note_path(path)).is_ok_and(|then| then == now))
    }
}

/// Where the note about a compiled file stands.
pub(crate) fn note_path(path: &Path) -> PathBuf {
    path.with_extension("seen")
}

fn is_only_ours(file: &Metadata, user: u32) -> bool {
    file.uid() == user && file.mode() & WRITABLE_BY_OTHERS == 0
}
