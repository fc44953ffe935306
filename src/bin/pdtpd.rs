//! `pdtpd`, the server: arguments and presentation only.

#[path = "pdtpd/args.rs"]
mod args;
#[path = "pdtpd/catalogue.rs"]
mod catalogue;
#[path = "pdtpd/check.rs"]
mod check;
#[path = "pdtpd/failure.rs"]
mod failure;
#[path = "pdtpd/file.rs"]
mod file;
#[path = "generate/mod.rs"]
mod generate;
#[path = "pdtpd/page.rs"]
mod page;
#[path = "pdtpd/print.rs"]
mod print;
#[path = "pdtpd/rules.rs"]
mod rules;
#[path = "pdtpd/system.rs"]
mod system;
#[path = "pdtpd/units.rs"]
mod units;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{CommandFactory as _, Parser as _};
use pdtp::hub::{Hub, HubConfig, Metadata};
use pdtp::media;
use pdtp::publisher::{self, Signer};
use pdtp::server::{Server, ServerConfig};

use self::args::{Cli, Command, MetadataSources, Settings};
use self::failure::Failure;

/// For tasks that are still at a disk read when everything is over.
const LAST_WAIT: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(args) => Settings::resolve(*args).and_then(serve),
        Command::Catalogue(args) => catalogue::run(&args),
        Command::MetadataHelper => helper(),
        Command::Generate(args) => generate::run(args.what, Cli::command(), "8", page::config)
            .map_err(|error| Failure::other("cannot write to standard output", &error)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("pdtpd: {failure}");
            failure.exit_code()
        }
    }
}

fn serve(settings: Settings) -> Result<(), Failure> {
    print::init_logs(settings.log_level);
    failure::check_directory(&settings.dir)?;
    if let Some(state) = &settings.state {
        failure::check_state(state)?;
    }
    let descriptors = system::raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::other("cannot start", &error))?;

    let hub_config = HubConfig {
        state_dir: settings.state.clone(),
        piece_size: settings.piece_size,
        hidden: settings.hidden,
        globs: settings.globs.clone(),
        follow_symlinks: settings.follow_symlinks,
        hash_rate: settings.hash_rate,
        hash_threads: settings.hash_threads,
        settle: settings.settle.unwrap_or(pdtp::hub::DEFAULT_SETTLE),
        sign_key: sign_key(&settings)?.map(Arc::new),
        metadata: metadata(settings.metadata),
        ..HubConfig::default()
    };
    let hub = Hub::open(&settings.dir, hub_config)
        .map_err(|error| Failure::hub(&settings.dir, &settings.state, &error))?;
    check::check_rates(&settings.directories, settings.piece_size);
    let result = check::check_paths(&settings.dir, &hub, &settings.directories)
        .and_then(|()| runtime.block_on(run(&settings, hub.clone(), descriptors)));
    runtime.shutdown_timeout(LAST_WAIT);
    hub.close();
    result
}

/// Where metadata comes from. What reads files is this program once more.
fn metadata(sources: MetadataSources) -> Metadata {
    match sources {
        MetadataSources::Off => Metadata::Off,
        MetadataSources::Sidecar => Metadata::Sidecar,
        MetadataSources::Full => match system::this_program() {
            Ok(program) => {
                Metadata::Full(media::Command { program, arguments: vec!["metadata-helper".into()] })
            }
            Err(error) => {
                tracing::warn!(%error, "this program cannot find itself: no tags are read from files");
                Metadata::Sidecar
            }
        },
    }
}

/// A process that looks at files, and may be killed over any of them.
fn helper() -> Result<(), Failure> {
    system::confine();
    let done = media::helper::run(std::io::stdin(), std::io::stdout());
    done.map_err(|error| Failure::other("metadata", &error))
}

/// Who signs for the hub.
fn sign_key(settings: &Settings) -> Result<Option<Signer>, Failure> {
    let Some(path) = &settings.sign_key else { return Ok(None) };
    let read = publisher::read_secret(path, || {
        settings.sign_passphrase_file.as_deref().map(publisher::read_passphrase).transpose()
    });
    let file = read.map_err(|error| Failure::usage(format!("sign-key: {error}")))?;
    if file.is_open {
        tracing::warn!(path = %path.display(), "others than its owner can read the private key");
    }
    Ok(Some(Signer::new(file.key)))
}

async fn run(settings: &Settings, hub: Hub, descriptors: u64) -> Result<(), Failure> {
    // From here on a signal means to end in good order.
    let shutdown =
        system::shutdown_signal().map_err(|error| Failure::other("cannot handle signals", &error))?;
    let defaults = ServerConfig::default();
    let config = ServerConfig {
        listen: settings.listen.clone().unwrap_or(defaults.listen),
        name: settings.name.clone(),
        up_limit: settings.limit_up.unwrap_or(defaults.up_limit),
        policy: settings.policy,
        directories: settings.directories.clone(),
        notice: settings.notice.clone(),
        old_version_grace: settings.old_version_grace.unwrap_or(defaults.old_version_grace),
        grace: settings.grace.unwrap_or(defaults.grace),
        max_connections: system::connections_for(descriptors).min(defaults.max_connections),
        ..defaults
    };
    let server = Server::bind(config, hub.clone()).await.map_err(Failure::server)?;
    let places = print::Places::new(&server, settings.name.is_some());
    if settings.json {
        print::as_json(&places, settings, &hub);
    } else {
        print::as_lines(&places);
        tokio::spawn(print::files_when_known(settings.dir.clone(), hub));
    }
    server.run(shutdown).await.map_err(Failure::server)
}
