//! The catalogue seen from outside, while no hub uses it: what is in it, and whether it is sound.

use std::io::Write;
use std::path::Path;

use redb::{Database, DatabaseError, ReadableDatabase as _, ReadableTable as _};
use serde_json::json;

use super::HubError;
use super::catalogue::{FILE_NAME, FILES, FORMAT, IN_USE, PIECES, Record, digest_of, format_of, when_free};
use super::stamp::Stamp;
use crate::content::{Layout, PieceHashes};
use crate::wire::{Digest, UrlPath};

/// Problems named one by one.
const MAX_TOLD: usize = 100;

/// A catalogue of hashes that no hub is using.
pub struct Inspection {
    db: Database,
    bytes: u64,
}

impl std::fmt::Debug for Inspection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inspection").finish_non_exhaustive()
    }
}

/// What is in a catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CatalogueStats {
    /// Of the format.
    pub format: u64,
    /// Files whose hashes it has.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their pieces.
    pub pieces: u64,
    /// Bytes it takes on the disk.
    pub on_disk: u64,
}

/// What is wrong with a catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problems {
    /// Records looked at.
    pub records: u64,
    /// Those that are of no use; their files will be hashed again.
    pub broken: u64,
    /// The first of them, and trouble of the database itself, in words.
    pub told: Vec<String>,
}

impl Problems {
    fn tell(&mut self, what: String) {
        if self.told.len() < MAX_TOLD {
            self.told.push(what);
        }
    }
}

impl Inspection {
    /// Opens the catalogue in a state directory. Blocks.
    ///
    /// # Errors
    /// [`HubError::NotFound`] where there is none; [`HubError::Io`] in words, when a hub is using it or it is of a
    /// format this program does not know.
    pub fn open(state_dir: &Path) -> Result<Self, HubError> {
        let path = state_dir.join(FILE_NAME);
        let bytes = match std::fs::metadata(&path) {
            Ok(meta) => meta.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(HubError::NotFound),
            Err(error) => return Err(HubError::Io(error.to_string())),
        };
        let is_in_use = |error: &DatabaseError| matches!(error, DatabaseError::DatabaseAlreadyOpen);
        let db = when_free(&path, || Database::open(&path), is_in_use).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => HubError::Io(IN_USE.to_owned()),
            other => HubError::Io(other.to_string()),
        })?;
        match format_of(&db).map_err(trouble)? {
            Some(FORMAT) => Ok(Self { db, bytes }),
            Some(other) => {
                Err(HubError::Io(format!("it has format {other}, this program knows format {FORMAT}")))
            }
            None => Err(HubError::Io("it is no catalogue".to_owned())),
        }
    }

    /// What is in it. Blocks.
    pub fn stats(&self) -> Result<CatalogueStats, HubError> {
        let mut stats = CatalogueStats { format: FORMAT, on_disk: self.bytes, ..CatalogueStats::default() };
        self.each(|_, record, _| {
            if let Some(layout) = record.and_then(|record| record.layout()) {
                stats.files += 1;
                stats.bytes += layout.size();
                stats.pieces += u64::from(layout.count());
            }
            Ok(())
        })?;
        Ok(stats)
    }

    /// Whether all of it is sound: the database's own sums, each record, and the root of the hashes of each file.
    /// Blocks for as long as it takes to read it.
    pub fn check(&mut self) -> Result<Problems, HubError> {
        let mut problems = Problems::default();
        match self.db.check_integrity() {
            Ok(true) => {}
            Ok(false) => problems.tell("the database had to be repaired".to_owned()),
            Err(error) => return Err(HubError::Io(error.to_string())),
        }
        self.each(|path, record, pieces| {
            problems.records += 1;
            let is_sound = record.is_some_and(|record| hashes_of(record, pieces).is_some());
            if !is_sound || UrlPath::parse(path).is_err() {
                problems.broken += 1;
                problems.tell(format!("{path}: the record makes no sense"));
            }
            Ok(())
        })?;
        Ok(problems)
    }

    /// Writes one line of JSON for each file, in the order of paths. Blocks.
    pub fn export(&self, to: &mut dyn Write) -> Result<(), HubError> {
        self.each(|path, record, pieces| {
            let Some(record) = record else { return Ok(()) };
            let (Some(layout), stamp) = (record.layout(), record.stamp()) else { return Ok(()) };
            let Some(hashes) = hashes_of(record, pieces) else { return Ok(()) };
            let line = json!({
                "path": path,
                "size": layout.size(),
                "mtime": stamp.mtime.seconds,
                "inode": stamp.ino,
                "piece_size": layout.piece_size().bytes(),
                "root": hashes.root(),
                "pieces": hashes.all(),
            });
            writeln!(to, "{line}").map_err(|error| HubError::Io(error.to_string()))
        })
    }

    /// Calls `each` with path, record (`None` = broken) and the hashes that are kept apart.
    fn each(
        &self,
        mut each: impl FnMut(&str, Option<&Record>, Option<&[u8]>) -> Result<(), HubError>,
    ) -> Result<(), HubError> {
        let read = self.db.begin_read().map_err(|error| trouble(error.into()))?;
        let files = read.open_table(FILES).map_err(|error| trouble(error.into()))?;
        let pieces = read.open_table(PIECES).map_err(|error| trouble(error.into()))?;
        for row in files.iter().map_err(|error| trouble(error.into()))? {
            let (path, row) = row.map_err(|error| trouble(error.into()))?;
            let hashes = pieces.get(path.value()).map_err(|error| trouble(error.into()))?;
            let hashes = hashes.as_ref().map(redb::AccessGuard::value);
            each(path.value(), Record::decode(row.value()).as_ref(), hashes)?;
        }
        Ok(())
    }
}

impl Record {
    fn stamp(&self) -> Stamp {
        Stamp::decode(&self.stamp)
    }

    fn layout(&self) -> Option<Layout> {
        Layout::new(self.stamp().size, self.piece)
    }
}

/// The hashes of a file, if they make its root.
fn hashes_of(record: &Record, pieces: Option<&[u8]>) -> Option<PieceHashes> {
    let layout = record.layout()?;
    let all: Vec<Digest> = match (layout.count(), record.only) {
        (0, _) => Vec::new(),
        (1, Some(only)) => vec![only],
        (1, None) => return None,
        _ => pieces?.chunks_exact(32).map(digest_of).collect(),
    };
    PieceHashes::verified(layout, all, &record.root)
}

fn trouble(error: redb::Error) -> HubError {
    HubError::Io(error.to_string())
}
