//! Lines over a number, as SVG.

use std::path::Path;

use plotters::prelude::{
    BLACK, ChartBuilder, Circle, Color, IntoDrawingArea, IntoFont, LineSeries, PathElement, RGBColor, SVGBackend, WHITE,
};

const COLOURS: [RGBColor; 2] = [RGBColor(0, 95, 115), RGBColor(202, 103, 2)];

/// Draws series of points with their names; both axes begin at 0.
pub fn lines(path: &Path, title: &str, series: &[(&str, Vec<(f64, f64)>)]) -> anyhow::Result<()> {
    let points = || series.iter().flat_map(|(_, points)| points);
    let (right, top) = points().fold((0.0_f64, 0.0_f64), |(x, y), point| (x.max(point.0), y.max(point.1)));
    let area = SVGBackend::new(path, (720, 360)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 15).into_font())
        .margin(12)
        .x_label_area_size(28)
        .y_label_area_size(48)
        .build_cartesian_2d(0.0..right * 1.05, 0.0..top * 1.15)?;
    chart.configure_mesh().light_line_style(WHITE).x_labels(8).y_labels(8).draw()?;
    for ((name, points), colour) in series.iter().zip(COLOURS.into_iter().cycle()) {
        chart
            .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, colour.filled())))?;
    }
    chart.configure_series_labels().background_style(WHITE).border_style(BLACK).draw()?;
    Ok(area.present()?)
}
