//! The steps as a chart: the rate against the largest lags, an SVG for light and dark pages.

use std::fmt::Write;
use std::time::Duration;

use super::step::Step;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
/// The plot's edges.
const LEFT: f64 = 60.0;
const RIGHT: f64 = WIDTH - 30.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = HEIGHT - 50.0;
/// The most lines of a grid, each way.
const LINES: f64 = 8.0;

/// Colours by class, so that a page's scheme decides them.
const STYLE: &str = "
.page, .missed { fill: #ffffff }
text { font: 12px system-ui, sans-serif; fill: #24292f }
.grid { stroke: #d0d7de } .limit { stroke: #57606a; stroke-dasharray: 6 4 }
.view { stroke: #0969da; fill: #0969da } .notifications { stroke: #bc4c00; fill: #bc4c00 }
polyline { stroke-width: 2; fill: none !important }
@media (prefers-color-scheme: dark) {
.page, .missed { fill: #0d1117 } text { fill: #e6edf3 } .grid { stroke: #30363d } .limit { stroke: #9198a1 }
.view { stroke: #58a6ff; fill: #58a6ff } .notifications { stroke: #f0883e; fill: #f0883e }
}
";

/// A line of the chart: its class, what it is called, where its label is, what it shows.
type Line = (&'static str, &'static str, f64, fn(&Step) -> Duration);

const SERIES: [Line; 2] = [
    ("view", "order view", LEFT, |step| step.view_lag),
    ("notifications", "notifications", LEFT + 110.0, |step| {
        step.notification_lag
    }),
];

/// Several steps at one rate stay several points.
pub fn svg(steps: &[Step], limit: Duration) -> String {
    let mut steps: Vec<&Step> = steps.iter().collect();
    steps.sort_by_key(|step| step.rate);
    let fastest = steps.last().map_or(1, |step| step.rate.max(1)) as f64;
    let lags = steps
        .iter()
        .map(|step| step.view_lag.max(step.notification_lag));
    let longest = lags.fold(limit, Duration::max).as_secs_f64().max(0.001);
    let (x_step, y_step) = (round_step(fastest / LINES), round_step(longest / LINES));
    let (x_end, y_end) = (up_to(fastest, x_step), up_to(longest, y_step));
    let x = |rate: f64| LEFT + rate / x_end * (RIGHT - LEFT);
    let y = |lag: f64| BOTTOM - lag / y_end * (BOTTOM - TOP);

    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n\
         <title>Largest lag of each step by its rate</title>\n<style>{STYLE}</style>\n\
         <rect class=\"page\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n"
    );
    // Writing to a string does not fail.
    for value in ticks(x_step, x_end) {
        let x = x(value);
        let _ = writeln!(
            text,
            r#"<path class="grid" d="M{x:.1} {TOP}V{BOTTOM}"/><text x="{x:.1}" y="{}" text-anchor="middle">{value}</text>"#,
            BOTTOM + 18.0,
        );
    }
    let decimals = if y_step < 0.1 { 2 } else { 1 };
    for value in ticks(y_step, y_end) {
        let y = y(value);
        let _ = writeln!(
            text,
            r#"<path class="grid" d="M{LEFT} {y:.1}H{RIGHT}"/><text x="{}" y="{:.1}" text-anchor="end">{value:.decimals$}</text>"#,
            LEFT - 8.0,
            y + 4.0,
        );
    }
    let limit = limit.as_secs_f64();
    let _ = writeln!(
        text,
        "<path class=\"limit\" d=\"M{LEFT} {0:.1}H{RIGHT}\"/>\n\
         <text x=\"{LEFT}\" y=\"20\">Largest lag in s, by orders a second; dashed: what counts as sustained ({limit} s)</text>\n\
         <text x=\"{RIGHT}\" y=\"40\" text-anchor=\"end\">filled: sustained; hollow: not</text>\n\
         <text x=\"{RIGHT}\" y=\"{1}\" text-anchor=\"end\">orders/s</text>",
        y(limit),
        HEIGHT - 12.0,
    );
    for (class, name, label, lag) in SERIES {
        let points = steps.iter().map(|step| {
            let (x, y) = (x(step.rate as f64), y(lag(step).as_secs_f64()));
            (x, y, step.sustained().is_ok())
        });
        let points: Vec<_> = points.collect();
        let line = points.iter().map(|(x, y, _)| format!("{x:.1},{y:.1}"));
        let line = line.collect::<Vec<_>>().join(" ");
        let _ = writeln!(
            text,
            "<g class=\"{class}\"><circle cx=\"{}\" cy=\"36\" r=\"4\"/><polyline points=\"{line}\"/>",
            label + 5.0,
        );
        for (x, y, is_sustained) in points {
            let missed = if is_sustained {
                ""
            } else {
                r#" class="missed""#
            };
            let _ = writeln!(text, r#"<circle{missed} cx="{x:.1}" cy="{y:.1}" r="4"/>"#);
        }
        let _ = writeln!(
            text,
            "</g><text x=\"{}\" y=\"40\">{name}</text>",
            label + 14.0
        );
    }
    text.push_str("</svg>\n");
    text
}

/// The next of 1, 2, 5, 10, 20, 50 … that is not smaller.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * power);
    let fits = steps.into_iter().find(|step| *step >= least * 0.999);
    fits.unwrap_or(10.0 * power)
}

fn up_to(value: f64, step: f64) -> f64 {
    (value / step * 0.999).ceil() * step
}

fn ticks(step: f64, end: f64) -> impl Iterator<Item = f64> {
    let count = (end / step).round() as u32;
    (0..=count).map(move |index| f64::from(index) * step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(rate: u64, view_ms: u64) -> Step {
        Step {
            rate,
            seconds: 1,
            in_time: rate,
            limit: Duration::from_secs(1),
            view_lag: Duration::from_millis(view_ms),
            ..Step::default()
        }
    }

    #[test]
    fn grids_have_round_numbers() {
        assert_eq!(round_step(0.125), 0.2);
        assert_eq!(round_step(2_000.0), 2_000.0);
        assert_eq!(round_step(2_300.0), 5_000.0);
        assert_eq!(up_to(16_000.0, 2_000.0), 16_000.0);
        assert_eq!(ticks(0.5, 1.5).collect::<Vec<_>>(), [0.0, 0.5, 1.0, 1.5]);
    }

    #[test]
    fn points_are_in_the_order_of_rates_and_misses_are_hollow() {
        let limit = Duration::from_secs(1);
        let svg = svg(&[step(4_000, 2_000), step(2_000, 500)], limit);
        // 2,000 of 4,000 is the middle of the plot, 0.5 of 2 s a quarter of its height.
        assert!(
            svg.contains(r#"<polyline points="375.0,275.0 690.0,50.0"/>"#),
            "{svg}"
        );
        assert!(
            svg.contains(r#"<circle cx="375.0" cy="275.0" r="4"/>"#),
            "{svg}"
        );
        assert!(
            svg.contains(r#"<circle class="missed" cx="690.0" cy="50.0" r="4"/>"#),
            "{svg}"
        );
        assert!(
            svg.contains(r#"<path class="limit" d="M60 200.0H690"/>"#),
            "{svg}"
        );
        assert!(svg.contains("prefers-color-scheme: dark") && svg.ends_with("</svg>\n"));
        for element in ["svg", "g", "text", "style", "title"] {
            let ends = svg.matches(&format!("</{element}>")).count();
            let begins = svg.matches(&format!("<{element} ")).count()
                + svg.matches(&format!("<{element}>")).count();
            assert_eq!(begins, ends, "{element}: {svg}");
        }
    }

    #[test]
    fn nothing_measured_is_an_empty_chart() {
        let svg = svg(&[], Duration::from_secs(1));
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
