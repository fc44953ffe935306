//! Draws a run: how many had all when, and who sent how much when.

use std::path::Path;

use plotters::prelude::*;

use super::report::Outcome;
use super::setup::Setup;

type Problem = Box<dyn std::error::Error>;

/// Writes an SVG file with two charts.
pub fn plot(outcome: &Outcome, setup: &Setup, title: &str, path: &Path) -> Result<(), Problem> {
    let root = SVGBackend::new(path, (900, 900)).into_drawing_area();
    root.fill(&WHITE)?;
    let root = root.titled(title, ("sans-serif", 22))?;
    let (upper, lower) = root.split_vertically(430);
    completions(outcome, setup, &upper)?;
    senders(outcome, &lower)?;
    root.present()?;
    Ok(())
}

/// Of those who were to finish; who never did is missing from the curve's end.
fn completions(
    outcome: &Outcome,
    setup: &Setup,
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
) -> Result<(), Problem> {
    let of = || outcome.hosts.iter().zip(&setup.hosts).filter(|(_, host)| host.is_to_finish());
    let mut times: Vec<f64> =
        of().filter_map(|(host, _)| Some((host.done? - host.arrived) as f64 / 1e6)).collect();
    times.sort_by(f64::total_cmp);
    let longest = times.last().copied().unwrap_or(1.0).max(1e-6);
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..longest * 1.05, 0.0..1.0)?;
    chart.configure_mesh().x_desc("seconds after coming").y_desc("part that has all").draw()?;
    let count = of().count().max(1) as f64;
    let steps = times
        .iter()
        .enumerate()
        .flat_map(|(index, &time)| [(time, index as f64 / count), (time, (index + 1) as f64 / count)]);
    chart.draw_series(LineSeries::new(std::iter::once((0.0, 0.0)).chain(steps), BLUE.stroke_width(2)))?;
    Ok(())
}

fn senders(
    outcome: &Outcome,
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
) -> Result<(), Problem> {
    let history = &outcome.history;
    let last = history.last().copied().unwrap_or_default();
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let most = mib(last.from_origin.max(last.from_peers)).max(1.0);
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..(last.at as f64 / 1e6).max(1e-6), 0.0..most * 1.05)?;
    chart.configure_mesh().x_desc("seconds").y_desc("MiB sent").draw()?;
    type Of = fn(&super::report::Sample) -> u64;
    let lines: [(&str, RGBColor, Of); 2] =
        [("origins", RED, |sample| sample.from_origin), ("peers", GREEN, |sample| sample.from_peers)];
    for (name, color, of) in lines {
        let points = history.iter().map(|sample| (sample.at as f64 / 1e6, mib(of(sample))));
        chart
            .draw_series(LineSeries::new(points, color.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color));
    }
    chart.configure_series_labels().background_style(WHITE).border_style(BLACK).draw()?;
    Ok(())
}
