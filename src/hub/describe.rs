//! Metadata of files: a thread that gathers it, and what the catalogue remembers.
//!
//! Three sources, in this order: a sidecar `NAME.dc.xml`, extended attributes, and the file itself, which is looked at
//! by a helper process ([`crate::media`]). For each attribute the first source that has a value counts. What the name says
//! of the type comes last, and is not kept.
//!
//! What is remembered holds for a stamp of the file (which has the time of the last change of its extended attributes
//! in it) and a stamp of the sidecar. Whether it still holds is looked at when it is asked for; being told of changes
//! only makes that the answer is there in time.

use std::collections::VecDeque;
use std::io::Read as _;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cap_std::fs::Dir;
use sha2::{Digest as _, Sha256};

use super::catalogue::{Look, RowKey};
use super::stamp::{Stamp, read_full_at};
use super::tree::Tree;
use super::{HubError, Shared, mime_of, scan, xattrs};
use crate::content::{SIDECAR_SUFFIX as SIGNATURE_SUFFIX, rdl};
use crate::media::{self, Keeper, Stopper, Trouble};
use crate::wire::{About, Attribute, Attributes, EntryKind, UrlPath};

/// Longest sidecar that is read, in bytes.
const MAX_SIDECAR: u64 = 64 * 1024;
/// Paths of files that have changed, kept to be looked at; beyond that the whole tree is looked at.
const MAX_NEWS: usize = 4096;
/// Paths that somebody waits for.
const MAX_WANTED: usize = 256;
/// A helper that came to a bad end over a file gets so many chances with it. The first may have been bad luck.
const ATTEMPTS: usize = 2;
/// In what was remembered: raised when other things are found out of the same file.
const EDITION: u8 = 1;
/// How often is looked for an answer that may have come between a look and the wait after it.
const POLL: Duration = Duration::from_millis(50);
/// Bytes of a row before the attributes.
const PRINT_LEN: usize = 8;

/// Where metadata comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Metadata {
    /// Nowhere: only the type, by the name.
    Off,
    /// Sidecars and extended attributes. No file is read.
    #[default]
    Sidecar,
    /// And tags in the files themselves, read by this program in a process of its own.
    Full(media::Command),
}

/// See the module.
pub(super) struct Describer {
    sources: Metadata,
    state: Mutex<State>,
    change: Condvar,
    /// One more file was described.
    progress: Condvar,
}

#[derive(Default)]
struct State {
    /// Somebody waits for these.
    wanted: VecDeque<UrlPath>,
    /// These have changed.
    news: VecDeque<UrlPath>,
    /// Look whether there are others.
    walk: bool,
    stop: bool,
    helper: Option<Stopper>,
}

/// What to do next.
enum Next {
    File(UrlPath),
    Walk,
    End,
}

impl Describer {
    pub(super) fn new(sources: Metadata) -> Self {
        Self { sources, state: Mutex::default(), change: Condvar::new(), progress: Condvar::new() }
    }

    /// Whether there is anything to be found beyond names.
    fn is_off(&self) -> bool {
        self.sources == Metadata::Off
    }

    /// A file or sidecar is new or another than before.
    pub(super) fn note(&self, path: &UrlPath) {
        if self.is_off() {
            return;
        }
        let mut state = self.lock();
        if state.news.len() < MAX_NEWS {
            state.news.push_back(owner_of(path).unwrap_or_else(|| path.clone()));
        } else {
            state.walk = true;
        }
        drop(state);
        self.change.notify_one();
    }

    /// Files may have changed anywhere.
    pub(super) fn note_all(&self) {
        if !self.is_off() {
            self.lock().walk = true;
            self.change.notify_one();
        }
    }

    /// Ends [`run`], and the helper with it.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        state.stop = true;
        if let Some(helper) = state.helper.take() {
            helper.stop();
        }
        drop(state);
        self.change.notify_all();
        self.progress.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Next {
        let mut state = self.lock();
        loop {
            if state.stop {
                return Next::End;
            }
            if let Some(path) = state.take_file() {
                return Next::File(path);
            }
            if std::mem::take(&mut state.walk) {
                return Next::Walk;
            }
            state = self.change.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl State {
    fn take_file(&mut self) -> Option<UrlPath> {
        self.wanted.pop_front().or_else(|| self.news.pop_front())
    }
}

/// The thread.
pub(super) fn run(shared: &Shared) {
    let mut keeper = match &shared.describer.sources {
        Metadata::Off => return,
        Metadata::Sidecar => None,
        Metadata::Full(command) => Some(Keeper::new(command.clone())),
    };
    if let Some(keeper) = &keeper {
        let mut state = shared.describer.lock();
        if state.stop {
            return;
        }
        state.helper = Some(keeper.stopper());
    }
    loop {
        match shared.describer.next() {
            Next::End => return,
            Next::File(path) => look_at(shared, &path, keeper.as_mut()),
            Next::Walk => {
                scan::walk_below(
                    shared,
                    &UrlPath::root(),
                    |path, stamp| {
                        // Who waits does not wait for a whole tree.
                        loop {
                            let mut state = shared.describer.lock();
                            let Some(path) = state.take_file() else { break };
                            drop(state);
                            look_at(shared, &path, keeper.as_mut());
                        }
                        // What is not hashed yet comes when it is, while the system still has it in memory.
                        if shared.root(path, stamp).is_some() {
                            look_at(shared, path, keeper.as_mut());
                        }
                        true
                    },
                    |_| {},
                );
            }
        }
    }
}

/// Describes a file, unless it is described already.
fn look_at(shared: &Shared, path: &UrlPath, keeper: Option<&mut Keeper>) {
    if let Err(error) = describe(shared, path, keeper) {
        tracing::debug!(%path, %error, "not described");
    }
    drop(shared.describer.lock());
    shared.describer.progress.notify_all();
}

fn describe(shared: &Shared, path: &UrlPath, keeper: Option<&mut Keeper>) -> Result<(), HubError> {
    let tree = &shared.source.tree;
    let found = tree.stat(path)?;
    if found.kind != EntryKind::File || has_none(path) {
        return Ok(());
    }
    let sidecar = sidecar_of(path);
    let beside = sidecar.as_ref().and_then(|sidecar| tree.stat(sidecar).ok()).map(|found| found.stamp);
    let print = print(shared, &found.stamp, beside.as_ref());
    let key = RowKey::new(path, found.stamp.ino);
    if shared.catalogue.description(key).is_some_and(|row| row.starts_with(&print)) {
        return Ok(());
    }
    let mut all = match (&sidecar, beside) {
        (Some(sidecar), Some(_)) => read_sidecar(tree, sidecar),
        _ => Attributes::default(),
    };
    match tree.open_file(path) {
        Ok((file, stamp)) => {
            all.complete_with(&xattrs::read(&file));
            if let Some(keeper) = keeper {
                all.complete_with(&ask(keeper, &file, stamp.size, path)?);
            }
            if stamp != found.stamp || !stamp.holds_for(&file) {
                // It will be hashed again, and then it comes here again.
                return Err(HubError::Unstable);
            }
        }
        // Nothing more can be said of it before its permissions change, and so its stamp.
        Err(HubError::Denied) => {}
        Err(error) => return Err(error),
    }
    // What the name says is not kept: most files have nothing else, and then it takes no room.
    let by_name = mime_of(path);
    if all.len() == 1 && all.get(Attribute::Format).is_some_and(|format| Some(format) == by_name) {
        all = Attributes::default();
    }
    let mut row = print.to_vec();
    row.extend(media::encode(&all));
    shared.catalogue.put_description(key, row);
    Ok(())
}

/// What the file says of itself.
fn ask(keeper: &mut Keeper, file: &std::fs::File, size: u64, path: &UrlPath) -> Result<Attributes, HubError> {
    let mut head = vec![0; media::HEAD];
    match read_full_at(file, &mut head, 0) {
        Ok(length) => head.truncate(length),
        Err(error) => return Err(HubError::Io(error.to_string())),
    }
    if !media::is_worth_asking(&head) {
        return Ok(Attributes::default());
    }
    let name = String::from_utf8_lossy(&path.file_name()).to_lowercase();
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    for _ in 0..ATTEMPTS {
        let mut read = |buffer: &mut [u8], offset| read_full_at(file, buffer, offset);
        match keeper.describe(&mut read, size, &head, extension) {
            Ok(found) => return Ok(found),
            Err(Trouble::File) => {}
            // Another time.
            Err(Trouble::Helper) => return Err(HubError::Io("there is no helper".to_owned())),
        }
    }
    tracing::info!(%path, "the helper came to no end with it: listed without its tags");
    Ok(Attributes::default())
}

fn read_sidecar(tree: &Tree, sidecar: &UrlPath) -> Attributes {
    let mut bytes = Vec::new();
    let read = tree.open_file(sidecar).and_then(|(file, _)| {
        let read = file.take(MAX_SIDECAR + 1).read_to_end(&mut bytes);
        read.map_err(|error| HubError::Io(error.to_string()))
    });
    let why = match read {
        Ok(length) if length as u64 > MAX_SIDECAR => format!("longer than {MAX_SIDECAR} bytes"),
        Ok(_) => match rdl::text_of(&bytes).and_then(rdl::parse_dublin_core) {
            Ok(all) => return all,
            Err(error) => error.to_string(),
        },
        Err(error) => error.to_string(),
    };
    tracing::warn!(path = %sidecar, why, "not a sidecar with Dublin Core; the file is listed without it");
    Attributes::default()
}

/// What is known of a file in a listing. `open` is the directory it is in. Two looks, one of them at the disk.
pub(super) fn about(
    shared: &Shared,
    look: Option<&Look<'_>>,
    open: &Dir,
    path: &UrlPath,
    stamp: &Stamp,
) -> About {
    let tree = &shared.source.tree;
    let sidecar = sidecar_of(path);
    let beside = sidecar.and_then(|sidecar| tree.stat_in(open, sidecar.file_name(), &sidecar).ok());
    let mut about = About::default();
    if !shared.describer.is_off() && !has_none(path) {
        let print = print(shared, stamp, beside.map(|found| found.stamp).as_ref());
        let key = RowKey::new(path, stamp.ino);
        let row = look.map_or_else(|| shared.catalogue.description(key), |look| look.description(key));
        match row.as_deref().and_then(|row| row.strip_prefix(&print)).and_then(media::decode) {
            Some(attributes) => about.attributes = attributes,
            None => about.is_pending = true,
        }
    }
    complete_by_name(&mut about, path);
    about
}

/// The same of one file, for which somebody waits: as long as `patience`, if it is not described yet. Blocks.
pub(super) fn about_soon(
    shared: &Shared,
    open: &Dir,
    path: &UrlPath,
    stamp: &Stamp,
    patience: Duration,
) -> About {
    let until = Instant::now() + patience;
    let mut is_asked = false;
    loop {
        let now = about(shared, None, open, path, stamp);
        let mut state = shared.describer.lock();
        let left = until.saturating_duration_since(Instant::now());
        if !now.is_pending || left.is_zero() || state.stop {
            return now;
        }
        if !std::mem::replace(&mut is_asked, true) {
            if state.wanted.len() >= MAX_WANTED {
                return now;
            }
            state.wanted.push_back(path.clone());
            shared.describer.change.notify_one();
        }
        drop(shared.describer.progress.wait_timeout(state, left.min(POLL)));
    }
}

fn complete_by_name(about: &mut About, path: &UrlPath) {
    if let Some(mime) = mime_of(path).filter(|_| !about.attributes.has(Attribute::Format)) {
        about.attributes.add_lossy(Attribute::Format, mime);
    }
}

/// What all of it depends on, in short.
fn print(shared: &Shared, stamp: &Stamp, beside: Option<&Stamp>) -> [u8; PRINT_LEN] {
    let sources = match shared.describer.sources {
        Metadata::Off => 0,
        Metadata::Sidecar => 1,
        Metadata::Full(_) => 2,
    };
    let mut hasher = Sha256::new();
    hasher.update([EDITION, sources]);
    hasher.update(stamp.encode());
    if let Some(beside) = beside {
        hasher.update(beside.encode());
    }
    let digest = hasher.finalize();
    std::array::from_fn(|at| digest[at])
}

/// Sidecars are about others, not themselves.
fn has_none(path: &UrlPath) -> bool {
    let name = path.file_name();
    name.ends_with(SIGNATURE_SUFFIX.as_bytes()) || name.ends_with(rdl::SIDECAR_SUFFIX.as_bytes())
}

/// Where the sidecar of a file would be.
fn sidecar_of(path: &UrlPath) -> Option<UrlPath> {
    if has_none(path) {
        return None;
    }
    let mut name = path.file_name();
    name.extend(rdl::SIDECAR_SUFFIX.as_bytes());
    path.parent()?.join(&name).ok()
}

/// The file that a sidecar is about, if it is one.
fn owner_of(path: &UrlPath) -> Option<UrlPath> {
    let name = path.file_name();
    let owner = name.strip_suffix(rdl::SIDECAR_SUFFIX.as_bytes())?;
    path.parent()?.join(owner).ok()
}
