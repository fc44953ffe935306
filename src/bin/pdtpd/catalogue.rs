//! `pdtpd catalogue`: the hashes that are kept, for people and programs to look at.

use std::io::{self, BufWriter, Write as _};

use pdtp::hub::{HubError, Inspection};

use super::args::{CatalogueAction, CatalogueArgs};
use super::failure::Failure;

pub(crate) fn run(args: &CatalogueArgs) -> Result<(), Failure> {
    let failed = |error: HubError| Failure::catalogue(&args.dir, &error);
    let mut inspection = Inspection::open(&args.dir).map_err(failed)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let written = match args.action {
        CatalogueAction::Stats => {
            let stats = inspection.stats().map_err(failed)?;
            let per_file = stats.on_disk.checked_div(stats.files).unwrap_or(0);
            writeln!(
                out,
                "format   {}\nfiles    {}\nbytes    {}\npieces   {}\non disk  {} bytes, {per_file} a file",
                stats.format, stats.files, stats.bytes, stats.pieces, stats.on_disk
            )
        }
        CatalogueAction::Check => {
            let problems = inspection.check().map_err(failed)?;
            for line in &problems.told {
                eprintln!("pdtpd: {line}");
            }
            if !problems.told.is_empty() {
                let why = format!(
                    "{} of {} records are of no use; their files will be hashed again",
                    problems.broken, problems.records
                );
                return Err(Failure::catalogue(&args.dir, &why));
            }
            writeln!(out, "{} records, all sound", problems.records)
        }
        CatalogueAction::Export => {
            inspection.export(&mut out).map_err(failed)?;
            Ok(())
        }
    };
    written.and_then(|()| out.flush()).map_err(|error| Failure::other("cannot write", &error))
}
