//! `pdtp stream`: files to players while they arrive, over HTTP on this machine or to standard output.

mod body;
mod gateway;

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use pdtp::client::{
    ClientStats, Error, ErrorKind, Event, EventBody, Reader, ReaderOptions, Seeding, Session,
};
use pdtp::content::keys::Fingerprint;
use pdtp::peer::serve::serve_patiently;
use pdtp::wire::{EntryKind, PdtpUri, UrlPath};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use self::gateway::{Desk, Gateway};
use crate::args::{self, Stream};
use crate::ask;
use crate::browse::{ALL_LEVELS, path_of};
use crate::exit::Failure;
use crate::link::{App, Link};
use crate::term;

/// How long to go on while nothing comes, unless `--timeout` says otherwise.
const PATIENCE: Duration = Duration::from_secs(300);
/// URLs of a directory that are printed, or given to a player.
const MAX_URLS: usize = 1000;
/// Bytes read at once.
const CHUNK: usize = 256 * 1024;
/// Players' connections at once.
const MAX_CONNECTIONS: usize = 256;
/// How long connections may take to end.
const LAST_GRACE: Duration = Duration::from_millis(500);
/// How often numbers are told.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

pub(crate) fn run(args: &Stream) -> Result<(), Failure> {
    let mut config = args::config(&args.network, Some(&args.share), Seeding::Downloading)?;
    args.signatures.apply(&mut config, ask::can_ask())?;
    let app = App::start(config)?;
    match (args.http, &args.player) {
        (None, None) => to_stdout(args, &app),
        (address, _) => {
            over_http(args, &app, address.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0))))
        }
    }
}

/// Goes on while something is done on another thread that sends its result, answering what is asked meanwhile.
fn attend<T>(
    app: &App,
    link: &mut Link<'_>,
    results: &mpsc::Receiver<T>,
    mut each: impl FnMut(&mut Link<'_>) -> Result<(), Failure>,
) -> Result<Option<T>, Failure> {
    loop {
        match results.try_recv() {
            Ok(result) => return Ok(Some(result)),
            Err(mpsc::TryRecvError::Disconnected) => return Ok(None),
            Err(mpsc::TryRecvError::Empty) => {}
        }
        if let Some(Event { body: EventBody::Decision { id, verdict, .. }, .. }) = link.next()? {
            ask::decide(&app.client, id, &verdict);
            link.moved();
        }
        each(link)?;
    }
}

/// Does something that blocks on a thread of its own. The event loop wakes up when it is through.
fn aside<T: Send + 'static>(app: &App, work: impl FnOnce() -> T + Send + 'static) -> mpsc::Receiver<T> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let client = app.client.clone();
    std::thread::spawn(move || {
        // Nobody waits for it any more when the program ends.
        let _ = sender.send(work());
        client.post(0);
    });
    receiver
}

// ------------------------------------------------------------------------------------------- standard output

fn to_stdout(args: &Stream, app: &App) -> Result<(), Failure> {
    let uri = &args.uri;
    if uri.is_dir || uri.path.is_root() {
        let uri = term::safe(uri.to_string().as_bytes());
        let text = format!("{uri} is a directory; --http or --player serve all of its files");
        return Err(Error::new(ErrorKind::Argument, text).into());
    }
    let mut link = app.link(uri, args.network.patience(PATIENCE))?;
    let (session, path, options) = (link.session.clone(), uri.path.clone(), options(args));
    let opening = aside(app, move || session.open_reader(&path, options, None));
    let reader = attend(app, &mut link, &opening, |_| Ok(()))?;
    let reader = reader.unwrap_or_else(|| Err(Error::new(ErrorKind::Internal, "opening it failed badly")))?;
    let from = reader.size().checked_add_signed(args.offset).filter(|_| args.offset < 0);
    let from = if args.offset < 0 { from } else { u64::try_from(args.offset).ok() };
    reader.seek(from.ok_or_else(|| {
        let text = format!(
            "the file has only {} bytes; --offset {} is before its start",
            reader.size(),
            args.offset
        );
        Error::new(ErrorKind::Argument, text)
    })?);
    let reader = Arc::new(reader);
    let playing = {
        let reader = Arc::clone(&reader);
        aside(app, move || play(&reader))
    };
    let mut seen = 0;
    let watching = |link: &mut Link<'_>| {
        let at = reader.tell();
        if at != seen {
            seen = at;
            link.moved();
        }
        Ok(())
    };
    let played = attend(app, &mut link, &playing, watching);
    // Should it still be reading.
    reader.cancel();
    played?.unwrap_or_else(|| Err(Error::new(ErrorKind::Internal, "playing it failed badly").into()))
}

fn play(reader: &Reader) -> Result<(), Failure> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let length = match reader.read(&mut buffer, None) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            // The main thread sees to that.
            Err(Error { kind: ErrorKind::Interrupted, .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        let mut out = std::io::stdout().lock();
        out.write_all(&buffer[..length]).and_then(|()| out.flush()).map_err(Failure::stdout)?;
    }
}

fn options(args: &Stream) -> ReaderOptions {
    ReaderOptions {
        window: args.window,
        expect_root: args.uri.root,
        verify: None,
        keys: args.uri.keys.iter().copied().map(Fingerprint).collect(),
    }
}

// ------------------------------------------------------------------------------------------------- over HTTP

fn over_http(args: &Stream, app: &App, address: SocketAddr) -> Result<(), Failure> {
    let cannot = |what: &str| {
        let what = what.to_owned();
        move |error: std::io::Error| Error::io(what, &error)
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("gateway")
        .enable_all()
        .build()
        .map_err(cannot("cannot start threads"))?;
    let listener = runtime
        .block_on(TcpListener::bind(address))
        .map_err(cannot(&format!("cannot listen on {address}; another port may be free, 0 finds one")))?;
    let address = listener.local_addr().map_err(cannot("cannot listen"))?;
    if !address.ip().is_loopback() {
        eprintln!("pdtp: everybody who reaches {address} can read what is served here");
    }
    let patience = args.network.patience(PATIENCE);
    let mut link = app.link(&args.uri, patience)?;
    let served = {
        let (session, uri) = (link.session.clone(), args.uri.clone());
        aside(app, move || what_is_there(&session, &uri))
    };
    let served = attend(app, &mut link, &served, |_| Ok(()))?;
    let served =
        served.unwrap_or_else(|| Err(Error::new(ErrorKind::Internal, "looking at it failed badly")))?;

    let (tell, said) = mpsc::channel();
    let is_json = args.json;
    let tell = {
        let (tell, client) = (std::sync::Mutex::new(tell), app.client.clone());
        move |value: Value| {
            if is_json && let Ok(tell) = tell.lock() {
                // Nobody listens any more at the end.
                let _ = tell.send(value);
                client.post(0);
            }
        }
    };
    let gateway = Arc::new(Gateway::new(
        link.session.clone(),
        args.uri.clone(),
        served.is_dir,
        args.window,
        patience,
        Box::new(tell),
    ));
    let base = format!("http://{address}");
    if !served.is_dir {
        // Whatever is wrong with it is to be known before a player asks.
        let (gateway, path) = (Arc::clone(&gateway), args.uri.path.clone());
        let opening = aside(app, move || gateway.open(&path).map(drop));
        attend(app, &mut link, &opening, |_| Ok(()))?.unwrap_or(Ok(()))?;
    }
    let urls: Vec<String> = served.files.iter().map(|path| format!("{base}{path}")).collect();
    announce(args, &base, served.is_dir, &served.files, &urls)?;
    let accepting = runtime.spawn(accept(listener, gateway));
    // From here on to hear nothing is no reason to end.
    let mut link = app.link(&args.uri, None)?;
    let mut player = args.player.as_deref().map(|command| start_player(command, &urls)).transpose()?;
    let result = watch(args, app, &mut link, &said, player.as_mut());
    if let Some(player) = &mut player {
        // It may have ended already.
        let _ = player.kill();
        let _ = player.wait();
    }
    accepting.abort();
    runtime.shutdown_timeout(LAST_GRACE);
    if is_json {
        say(&stopped("stopped", &app.client.stats()))?;
    }
    result
}

/// What is to be served.
struct Served {
    is_dir: bool,
    files: Vec<UrlPath>,
}

fn what_is_there(session: &Session, uri: &PdtpUri) -> Result<Served, Error> {
    let found = session.stat(&uri.path, None)?;
    if found.entries.first().is_some_and(|entry| entry.kind == EntryKind::File) {
        return Ok(Served { is_dir: false, files: vec![uri.path.clone()] });
    }
    let listing = session.list(&uri.path, ALL_LEVELS, None)?;
    let files = listing.entries.iter().filter(|entry| entry.kind == EntryKind::File);
    let files = files.take(MAX_URLS).map(|entry| path_of(&uri.path, entry)).collect::<Result<_, _>>()?;
    Ok(Served { is_dir: true, files })
}

fn announce(
    args: &Stream,
    base: &str,
    is_dir: bool,
    files: &[UrlPath],
    urls: &[String],
) -> Result<(), Failure> {
    if args.json {
        say(&json!({"event": "listening", "url": format!("{base}/")}))?;
        for (path, url) in files.iter().zip(urls) {
            say(&json!({"event": "url", "path": path.as_str(), "url": url}))?;
        }
        return Ok(());
    }
    let mut out = std::io::stdout().lock();
    if is_dir && args.player.is_none() {
        eprintln!("pdtp: a list for browsers: {base}{}", args.uri.path);
    }
    urls.iter().try_for_each(|url| writeln!(out, "{url}")).and_then(|()| out.flush()).map_err(Failure::stdout)
}

async fn accept(listener: TcpListener, gateway: Arc<Gateway>) {
    let desk = Arc::new(Desk(gateway));
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // Never closed. More than that wait for one to end.
        let place = Arc::clone(&places).acquire_owned().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                // What is small is not to wait for more.
                let _ = stream.set_nodelay(true);
                let desk = Arc::clone(&desk);
                tokio::spawn(async move {
                    let _place = place;
                    serve_patiently(stream, desk, std::future::pending()).await;
                });
            }
            // Out of descriptors, most likely: a few may be free again soon.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

fn start_player(command: &str, urls: &[String]) -> Result<Child, Error> {
    let mut words = command.split_whitespace();
    let Some(program) = words.next() else {
        return Err(Error::new(ErrorKind::Argument, "--player: it takes the name of a program"));
    };
    // Standard input stays the terminal: some players have their keys there.
    Command::new(program).args(words).args(urls).spawn().map_err(|error| {
        let text = format!("cannot start the player {program}: {error}");
        Error::new(ErrorKind::Argument, text)
    })
}

/// Until the player ends, or somebody wants the program to end.
fn watch(
    args: &Stream,
    app: &App,
    link: &mut Link<'_>,
    said: &mpsc::Receiver<Value>,
    mut player: Option<&mut Child>,
) -> Result<(), Failure> {
    let mut told = (ClientStats::default(), Instant::now());
    loop {
        if let Some(Event { body: EventBody::Decision { id, verdict, .. }, .. }) = link.next()? {
            ask::decide(&app.client, id, &verdict);
        }
        while let Ok(value) = said.try_recv() {
            say(&value)?;
        }
        if args.json && told.1.elapsed() >= PROGRESS_INTERVAL {
            let stats = app.client.stats();
            let counts = |s: &ClientStats| (s.from_origin, s.from_peers, s.uploaded, s.wasted);
            if counts(&stats) != counts(&told.0) {
                let mut value = stopped("progress", &stats);
                value["rate"] = json!(stats.down_rate);
                say(&value)?;
            }
            told = (stats, Instant::now());
        }
        if let Some(child) = player.as_deref_mut()
            && let Some(status) = child.try_wait().map_err(|error| Error::io("the player", &error))?
        {
            return match status.success() {
                true => Ok(()),
                false => {
                    let text = format!("the player ended with {status}");
                    Err(Error::new(ErrorKind::Internal, text).into())
                }
            };
        }
    }
}

fn stopped(event: &str, stats: &ClientStats) -> Value {
    json!({"event": event, "from_origin": stats.from_origin, "from_peers": stats.from_peers,
        "uploaded": stats.uploaded, "wasted": stats.wasted})
}

fn say(value: &Value) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{value}").and_then(|()| out.flush()).map_err(Failure::stdout)
}
