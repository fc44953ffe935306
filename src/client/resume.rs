//! The list of unfinished downloads: a file for each in the state directory, from its beginning until it is complete, so
//! that another run of the program finds what this one has left, however it ended.
//!
//! A record says what was asked for. What is there of it is not believed but checked, as with every download
//! ([`super::store`]). While a download is under way its record is locked.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::config::policy_word;
use super::download::Task;
use super::session::LinkUser;
use super::store::{self, PieceStore};
use super::{Client, Error, ErrorKind, Overwrite, Priority, Request, Target, Transfer, Tuning, policy};
use crate::content::keys::Fingerprint;
use crate::wire::PdtpUri;

/// Version of the format.
const FORMAT: u32 = 1;
/// Longest record that is read.
const MAX_RECORD: u64 = 256 * 1024;
/// Records listed at most.
const MAX_RECORDS: usize = 64 * 1024;
const SUFFIX: &str = ".pdtp-resume";

/// A download that has not come to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// Its name in the list.
    pub id: String,
    /// What is downloaded: with `#root=` and `#key=` if only that will do.
    pub uri: PdtpUri,
    /// The file, or the directory, that it goes to.
    pub local: PathBuf,
    /// Whether `local` is the directory that it goes into.
    pub into_dir: bool,
    /// When it was started, Unix seconds.
    pub started: i64,
    /// Bytes verified when that was written down last; 0 of trees.
    pub done: u64,
    /// Bytes in all; 0 if they are not known, and of trees.
    pub total: u64,
    /// It is under way, in this program or another one.
    pub is_active: bool,
}

/// Content of a record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Saved {
    format: u32,
    uri: String,
    local: String,
    /// In place of `local`, of names that are not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    local_bytes: Option<Vec<u8>>,
    into_dir: bool,
    never_overwrite: bool,
    recursive: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verify: Option<String>,
    rate: u64,
    priority: String,
    prealloc: bool,
    started: i64,
}

/// The record of a download that is under way.
#[derive(Debug)]
pub(super) struct Record {
    path: PathBuf,
    /// Locked.
    _file: File,
}

impl Record {
    /// Notes a download. Blocks.
    fn create(dir: &Path, saved: &Saved) -> Result<Self, Error> {
        let failed = |what: &str| {
            let what = format!("cannot {what} in the state directory {}", dir.display());
            move |error: io::Error| Error::io(what, &error)
        };
        std::fs::create_dir_all(dir).map_err(failed("write"))?;
        let mut id = [0; 8];
        getrandom::fill(&mut id)
            .map_err(|error| Error::new(ErrorKind::Internal, format!("no random numbers: {error}")))?;
        let path = dir.join(format!("{:016x}{SUFFIX}", u64::from_ne_bytes(id)));
        let mut file =
            OpenOptions::new().write(true).create_new(true).open(&path).map_err(failed("write"))?;
        // A file system without locks: then a list cannot tell that it is under way.
        let _ = file.try_lock();
        let text = serde_json::to_vec_pretty(saved).map_err(|error| failed("write")(error.into()))?;
        if let Err(error) = file.write_all(&text) {
            let _ = std::fs::remove_file(&path);
            return Err(failed("write")(error));
        }
        Ok(Self { path, _file: file })
    }

    /// A download has ended: its record goes, unless there is something to resume. Blocks.
    fn settle(self, result: Result<(), ErrorKind>, is_discarded: bool) {
        if !is_discarded && result.is_err_and(is_resumable) {
            return;
        }
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "the record of a download stays");
        }
    }
}

/// Whether another try may end better.
fn is_resumable(kind: ErrorKind) -> bool {
    use ErrorKind as Kind;
    !matches!(
        kind,
        Kind::Argument
            | Kind::NotFound
            | Kind::Denied
            | Kind::Unsupported
            | Kind::Exists
            | Kind::Signature
            | Kind::Unsigned
            | Kind::KeyChanged
            | Kind::UnknownKey
            | Kind::Rejected
    )
}

impl Saved {
    /// `None` of what goes to a function.
    fn of(link: &LinkUser, request: &Request) -> Result<Option<Self>, Error> {
        let (local, into_dir) = match &request.target {
            Target::File(local) => (local, false),
            Target::Dir(local) => (local, true),
            Target::Stream(_) => return Ok(None),
        };
        let local = std::path::absolute(local)
            .map_err(|error| Error::io(format!("cannot tell where {} is", local.display()), &error))?;
        let uri = PdtpUri {
            host: link.host.clone(),
            port: link.port,
            path: request.path.clone(),
            is_dir: false,
            root: request.expect_root,
            keys: request.keys.iter().map(|key| key.0).collect(),
        };
        let text = local.to_str().map(str::to_owned);
        Ok(Some(Self {
            format: FORMAT,
            uri: uri.to_string(),
            local_bytes: text.is_none().then(|| local.as_os_str().as_encoded_bytes().to_vec()),
            local: text.unwrap_or_else(|| local.to_string_lossy().into_owned()),
            into_dir,
            never_overwrite: request.overwrite == Overwrite::Never,
            recursive: request.recursive,
            verify: request.verify.map(|policy| policy_word(policy).to_owned()),
            rate: request.tuning.rate,
            priority: request.tuning.priority.word().to_owned(),
            prealloc: request.tuning.preallocate,
            started: now(),
        }))
    }

    fn read(path: &Path) -> io::Result<Self> {
        let mut text = Vec::new();
        File::open(path)?.take(MAX_RECORD).read_to_end(&mut text)?;
        let saved: Self = serde_json::from_slice(&text)?;
        if saved.format == FORMAT { Ok(saved) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    fn uri(&self) -> Option<PdtpUri> {
        self.uri.parse().ok()
    }

    fn local(&self) -> PathBuf {
        #[cfg(unix)]
        if let Some(bytes) = &self.local_bytes {
            use std::os::unix::ffi::OsStringExt as _;
            return std::ffi::OsString::from_vec(bytes.clone()).into();
        }
        PathBuf::from(&self.local)
    }

    /// The file that the download becomes; `None` of trees.
    fn file(&self, uri: &PdtpUri) -> Option<PathBuf> {
        match (self.into_dir, self.recursive) {
            (false, _) => Some(self.local()),
            (true, true) => None,
            (true, false) => {
                super::names::local_name(&uri.path.file_name()).ok().map(|name| self.local().join(name))
            }
        }
    }

    fn request(&self, uri: &PdtpUri) -> Request {
        let local = self.local();
        Request {
            path: uri.path.clone(),
            target: if self.into_dir { Target::Dir(local) } else { Target::File(local) },
            // What was to be replaced is a part of the new file by now.
            overwrite: if self.never_overwrite { Overwrite::Never } else { Overwrite::Resume },
            recursive: self.recursive,
            expect_root: uri.root,
            verify: self.verify.as_deref().and_then(policy),
            keys: uri.keys.iter().copied().map(Fingerprint).collect(),
            tuning: Tuning {
                rate: self.rate,
                priority: Priority::from_word(&self.priority).unwrap_or_default(),
                preallocate: self.prealloc,
                // Streams are not resumed.
                ..Tuning::default()
            },
        }
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Whether somebody holds the lock of a record.
fn is_locked(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

impl Client {
    /// The downloads that earlier runs have left, oldest first, and those under way now. What cannot be read is left out.
    ///
    /// # Errors
    /// [`ErrorKind::State`] when no state directory is configured; [`ErrorKind::Io`].
    pub fn unfinished(&self) -> Result<Vec<Unfinished>, Error> {
        let dir = self.state_dir()?;
        let reading = match std::fs::read_dir(&dir) {
            // Nobody has begun anything yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            reading => reading,
        };
        let entries = reading.map_err(|error| {
            Error::io(format!("cannot read the state directory {}", dir.display()), &error)
        })?;
        let mut found: Vec<_> =
            entries.filter_map(|entry| look(&entry.ok()?.path())).take(MAX_RECORDS).collect();
        found.sort_unstable_by(|a, b| (a.started, &a.id).cmp(&(b.started, &b.id)));
        Ok(found)
    }

    /// Goes on with an unfinished download, where it was going to.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none of this name; [`ErrorKind::Locked`] when it is under way;
    /// [`ErrorKind::State`], [`ErrorKind::Io`].
    pub fn resume(&self, id: &str, user_data: usize) -> Result<Transfer, Error> {
        self.runtime.inner.check_open()?;
        let (path, saved, uri) = self.find(id)?;
        let file =
            File::open(&path).map_err(|error| Error::io("cannot open the record of a download", &error))?;
        // A file system without locks: go on without.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Err(under_way(&uri));
        }
        let record = Record { path, _file: file };
        let link = LinkUser::open(&self.runtime.inner, &uri.host, uri.port)?;
        let task = Task::Get(saved.request(&uri));
        super::begin(&self.runtime, &link, uri.path, task, Some(record), user_data)
    }

    /// Takes an unfinished download off the list; with `delete` what is there of it, unless that is a tree.
    ///
    /// # Errors
    /// As for [`Client::resume`].
    pub fn forget(&self, id: &str, delete: bool) -> Result<(), Error> {
        let (path, saved, uri) = self.find(id)?;
        if is_locked(&path) {
            return Err(under_way(&uri));
        }
        if let Some(target) = saved.file(&uri).filter(|_| delete) {
            PieceStore::discard_part(&target).map_err(|error| super::download::store_error(&error))?;
        }
        std::fs::remove_file(&path)
            .map_err(|error| Error::io(format!("cannot remove {}", path.display()), &error))
    }

    fn state_dir(&self) -> Result<PathBuf, Error> {
        let text =
            "no state directory is configured (option state_dir), so nobody knows of unfinished downloads";
        self.runtime.inner.config().state_dir.ok_or_else(|| Error::new(ErrorKind::State, text))
    }

    fn find(&self, id: &str) -> Result<(PathBuf, Saved, PdtpUri), Error> {
        let dir = self.state_dir()?;
        let none = || {
            let shown: String = id.chars().take(64).collect();
            Error::new(ErrorKind::NotFound, format!("there is no unfinished download {shown:?}"))
        };
        // A name, and no path.
        if id.len() != 16 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(none());
        }
        let path = dir.join(format!("{id}{SUFFIX}"));
        let saved = Saved::read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => none(),
            _ => Error::io(format!("cannot read {}", path.display()), &error),
        })?;
        let uri = saved.uri().ok_or_else(none)?;
        Ok((path, saved, uri))
    }
}

fn under_way(uri: &PdtpUri) -> Error {
    Error::new(ErrorKind::Locked, format!("the download of {uri} is under way"))
}

fn look(path: &Path) -> Option<Unfinished> {
    let id = path.file_name()?.to_str()?.strip_suffix(SUFFIX)?.to_owned();
    let saved = Saved::read(path).ok()?;
    let uri = saved.uri()?;
    let left = saved.file(&uri).and_then(|file| store::leftover(&file));
    let (done, total) = left.map(|left| (left.done, left.total)).unwrap_or_default();
    Some(Unfinished {
        id,
        local: saved.local(),
        into_dir: saved.into_dir,
        started: saved.started,
        done,
        total,
        is_active: is_locked(path),
        uri,
    })
}

/// A download to be noted, and where.
#[derive(Debug)]
pub(super) struct Note {
    dir: PathBuf,
    saved: Saved,
}

impl Note {
    /// `None` where that is not wanted, or where nothing is left that can be resumed.
    pub(super) fn of(link: &LinkUser, request: &Request) -> Result<Option<Self>, Error> {
        let Some(dir) = link.inner.config().state_dir else { return Ok(None) };
        Ok(Saved::of(link, request)?.map(|saved| Self { dir, saved }))
    }

    pub(super) async fn write(self) -> Result<Record, Error> {
        super::download::blocking(move || Record::create(&self.dir, &self.saved)).await?
    }
}

/// A download has ended.
pub(super) async fn settle(record: Option<Record>, result: Result<(), ErrorKind>, is_discarded: bool) {
    if let Some(record) = record {
        // A client that is ending leaves it to the next run.
        let _ = super::download::blocking(move || record.settle(result, is_discarded)).await;
    }
}
