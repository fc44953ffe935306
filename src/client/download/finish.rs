//! The end of a download, good or bad.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::{Job, Stop, Version, blocking, store_error};
use crate::client::files::Held;
use crate::client::verify;
use crate::client::{Error, ErrorKind, PieceStore, Seeding, TransferState};
use crate::content::trust::{Status, Verdict};
use crate::wire;

/// How long exchanges may take to end once their file is given up.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// All there: under its name, and given to others if that is wanted.
pub(super) async fn finish(
    job: &Job,
    held: &Arc<Held>,
    store: &Arc<PieceStore>,
    target: Option<&PathBuf>,
    version: &Version,
    verdict: Option<Verdict>,
) -> Result<(), Error> {
    job.enter(TransferState::Verifying);
    if let Some(error) = check_digest(store, verdict).await? {
        forget(job, held).await;
        return Err(error);
    }
    let (finishing, mtime, is_mirror) = (Arc::clone(store), version.mtime, job.mirror.is_some());
    let finish = move || {
        PieceStore::finish(&finishing, mtime)?;
        if is_mirror {
            finishing.set_time(mtime);
        }
        Ok(())
    };
    // A small file got its name when its piece came.
    let finished = if store.has_settled() { Ok(()) } else { blocking(finish).await? };
    if let Err(error) = finished {
        forget(job, held).await;
        return Err(store_error(&error));
    }
    match (job.inner.seeding(), target) {
        (Seeding::Off, _) => forget(job, held).await,
        // Streams: of no use here but to be given, and to be read again.
        (_, None) if job.inner.config().cache_bytes == 0 || !held.is_told() => forget(job, held).await,
        (seeding, None) => {
            if seeding == Seeding::Always {
                job.inner.keep(&job.link);
            }
            job.link.files.share_unnamed(held);
            provide_whole(job, held, store).await;
            job.inner.cache_add(&job.link, held, true).await;
        }
        (seeding, Some(target)) => {
            if seeding == Seeding::Always {
                job.inner.keep(&job.link);
            }
            for given_up in job.link.files.share(held, target.clone()) {
                job.link.unprovide(&given_up).await;
            }
            provide_whole(job, held, store).await;
            job.inner.cache_add(&job.link, held, false).await;
        }
    }
    Ok(())
}

/// Tells the server of a file that is complete, if it does not know: what was received, it does.
async fn provide_whole(job: &Job, held: &Held, store: &PieceStore) {
    if held.is_untold(store)
        && let Some(conn) = job.link.conn_now()
    {
        let provide = wire::Provide { url: held.url.clone(), range: None, root: Some(held.root) };
        // It is said again on the next connection.
        let _ = conn.send(provide).await;
    }
}

/// That the whole file has the digest that was signed. Its pieces are verified already; this is for whoever believes
/// the digest in the manifest by itself.
async fn check_digest(store: &Arc<PieceStore>, verdict: Option<Verdict>) -> Result<Option<Error>, Error> {
    let verdict = verdict.filter(|verdict| verdict.status != Status::Bad);
    let Some((wanted, path)) = verdict.and_then(|verdict| Some((verdict.sha256?, verdict.path))) else {
        return Ok(None);
    };
    let reading = Arc::clone(store);
    match blocking(move || verify::has_digest(&reading, wanted)).await? {
        Ok(true) => Ok(None),
        Ok(false) => {
            let text = format!("{path} does not have the SHA-256 that was signed, {wanted}");
            Ok(Some(Error::new(ErrorKind::Signature, text)))
        }
        Err(error) => Ok(Some(Error::io(format!("cannot read {path} once more"), &error))),
    }
}

/// Neither wanted nor given any more.
pub(super) async fn forget(job: &Job, held: &Arc<Held>) {
    job.link.files.remove(held);
    // What is still under way has its last words first. Otherwise the server would go on believing in pieces that are
    // not here, and never send them again.
    let _ = timeout(LAST_WORDS, held.seats_empty()).await;
    job.link.unprovide(held).await;
}

/// Not all there, and no more is to come: asks for nothing more, and leaves or removes what is on the disk.
pub(super) async fn abandon(job: &Job, held: &Arc<Held>, store: &Arc<PieceStore>, stop: &Stop) {
    if let Some(conn) = job.link.conn_now() {
        let unrequest = wire::Unrequest { url: held.url.clone(), range: None, root: Some(held.root) };
        // A lost connection has made the server forget it already.
        let _ = conn.send(unrequest).await;
    }
    forget(job, held).await;
    let discard = matches!(stop, Stop::Failed(_)) && job.shared.is_discarded();
    let store = Arc::clone(store);
    let left = blocking(move || if discard { store.discard() } else { store.save_state() }).await;
    if let Ok(Err(error)) = left {
        tracing::warn!(%error, "after a download that ended early");
    }
}
