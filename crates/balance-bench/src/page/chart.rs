//! Charts as SVG: lines and bars over axes with round numbers.

use std::fmt::Write as _;

use super::escape;

const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 28.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 36.0;

/// How values are laid out along an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scale {
    /// From zero.
    Linear,
    /// Powers of ten at even distances; what is below the lowest tick is shown there.
    Log,
}

/// An axis: its range, its ticks, and what they say.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    ticks: Vec<(f64, String)>,
    label: String,
}

/// One line of a chart.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) name: &'static str,
    pub(crate) points: Vec<(f64, f64)>,
}

impl Axis {
    /// From zero to at least `high`.
    pub(crate) fn linear(high: f64, label: &str) -> Self {
        let step = round_step(high.max(f64::MIN_POSITIVE) / 4.0);
        let count = (high / step).ceil().max(1.0);
        let ticks = (0..=count as u32).map(|n| f64::from(n) * step);
        Self {
            scale: Scale::Linear,
            low: 0.0,
            high: count * step,
            ticks: ticks.map(|value| (value, number(value))).collect(),
            label: label.to_owned(),
        }
    }

    /// Powers of ten around `low` to `high`, which are above zero.
    pub(crate) fn log(low: f64, high: f64, label: &str) -> Self {
        let first = low.max(1e-3).log10().floor() as i32;
        let last = (high.max(1e-3).log10().ceil() as i32).max(first + 1);
        let ticks = (first..=last).map(|power| 10f64.powi(power));
        Self {
            scale: Scale::Log,
            low: 10f64.powi(first),
            high: 10f64.powi(last),
            ticks: ticks.map(|value| (value, number(value))).collect(),
            label: label.to_owned(),
        }
    }

    /// Shares up to 1, each nine as wide as the one before: the tail is what a latency chart is for.
    pub(crate) fn nines(samples: u64) -> Self {
        let nines = (samples.max(10) as f64).log10().floor().clamp(2.0, 6.0);
        let mut ticks = vec![(0.0, "0".to_owned()), (nine_place(0.5), "50 %".to_owned())];
        ticks.extend((1..=nines as u8).map(|n| {
            let percent = 100.0 * (1.0 - 10f64.powi(-i32::from(n)));
            // As many places as it has nines: a binary fraction has more.
            let places = usize::from(n.saturating_sub(2));
            (f64::from(n), format!("{percent:.places$} %"))
        }));
        Self {
            scale: Scale::Linear,
            low: 0.0,
            high: nines,
            ticks,
            label: "share of all requests".to_owned(),
        }
    }

    fn place(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log => {
                let low = self.low.log10();
                (value.max(self.low).log10() - low) / (self.high.log10() - low)
            }
        };
        share.clamp(0.0, 1.0)
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + self.place(value) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.place(value) * (HEIGHT - TOP - BOTTOM)
    }
}

/// Where a share lies on [`Axis::nines`].
pub(crate) fn nine_place(share: f64) -> f64 {
    -(1.0 - share).max(1e-9).log10()
}

/// Lines over the same axes, with a legend when there are several.
pub(crate) fn lines(x: &Axis, y: &Axis, series: &[Series]) -> String {
    let mut svg = frame(x, y);
    for (index, each) in series.iter().enumerate() {
        let points: Vec<String> = each
            .points
            .iter()
            .map(|(at, value)| format!("{:.1},{:.1}", x.x(*at), y.y(*value)))
            .collect();
        let points = points.join(" ");
        push(
            &mut svg,
            format_args!(
                "<polyline class=\"line\" style=\"stroke:var(--s{index})\" points=\"{points}\"/>"
            ),
        );
    }
    if series.len() > 1 {
        for (index, each) in series.iter().enumerate() {
            let at = WIDTH - RIGHT - 64.0 * (series.len() - index) as f64;
            let name = escape(each.name);
            push(
                &mut svg,
                format_args!(
                    "<rect x=\"{at}\" y=\"4\" width=\"12\" height=\"4\" style=\"fill:var(--s{index})\"/>\
                 <text x=\"{}\" y=\"10\">{name}</text>",
                    at + 17.0
                ),
            );
        }
    }
    svg + "</svg>"
}

/// Bars that stand side by side: from, to, and height.
pub(crate) fn bars(x: &Axis, y: &Axis, bars: &[(f64, f64, f64)]) -> String {
    let mut svg = frame(x, y);
    let ground = HEIGHT - BOTTOM;
    for (from, to, value) in bars {
        let (left, right, top) = (x.x(*from), x.x(*to), y.y(*value));
        push(
            &mut svg,
            format_args!(
                "<rect class=\"bar\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
                (right - left - 0.6).max(0.6),
                ground - top
            ),
        );
    }
    svg + "</svg>"
}

fn frame(x: &Axis, y: &Axis) -> String {
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">");
    let (right, ground) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for (value, text) in &y.ticks {
        let at = y.y(*value);
        push(
            &mut svg,
            format_args!(
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                LEFT - 6.0,
                at + 4.0
            ),
        );
    }
    for (value, text) in &x.ticks {
        let at = x.x(*value);
        push(
            &mut svg,
            format_args!(
                "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{ground}\" y2=\"{}\"/>\
             <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{text}</text>",
                ground + 4.0,
                ground + 17.0
            ),
        );
    }
    let (x_label, y_label) = (escape(&x.label), escape(&y.label));
    push(
        &mut svg,
        format_args!(
            "<text x=\"{right}\" y=\"{}\" text-anchor=\"end\">{x_label}</text><text x=\"2\" y=\"10\">{y_label}</text>",
            HEIGHT - 3.0
        ),
    );
    svg
}

fn push(svg: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = svg.write_fmt(text);
}

/// 1, 2 or 5 times a power of ten, not below `least`.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    steps
        .into_iter()
        .find(|step| *step >= least * (1.0 - 1e-9))
        .unwrap_or(10.0 * power)
}

/// Short: 1200000 is 1.2M.
fn number(value: f64) -> String {
    let (scaled, unit) = match value {
        value if value >= 1e6 => (value / 1e6, "M"),
        value if value >= 1e3 => (value / 1e3, "k"),
        value => (value, ""),
    };
    let text = format!("{scaled:.3}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::{Axis, Series, bars, lines, nine_place, number};

    fn ticks(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(
            ticks(&Axis::linear(43_000.0, "")),
            ["0", "20k", "40k", "60k"]
        );
        assert_eq!(ticks(&Axis::linear(1.0, "")), ["0", "0.5", "1"]);
        assert_eq!(
            ticks(&Axis::log(30.0, 2_000.0, "")),
            ["10", "100", "1k", "10k"]
        );
        assert_eq!(
            ticks(&Axis::nines(1_500)),
            ["0", "50 %", "90 %", "99 %", "99.9 %"]
        );
        assert_eq!(
            ticks(&Axis::nines(1_000_000))[4..],
            ["99.9 %", "99.99 %", "99.999 %", "99.9999 %"]
        );
        assert_eq!(number(1_250_000.0), "1.25M");
    }

    #[test]
    fn nothing_leaves_the_frame_and_nothing_is_no_number() {
        let (x, y) = (Axis::linear(0.0, ""), Axis::log(0.0, 0.0, ""));
        let points = vec![(0.0, 0.0), (1e9, 1e9), (-1.0, f64::MIN_POSITIVE)];
        let series = [Series { name: "a", points }];
        let svg = lines(&x, &y, &series) + &bars(&x, &y, &[(0.0, 1.0, 1e9)]);
        assert!(
            !svg.contains("NaN") && !svg.contains("inf") && !svg.contains("\"-"),
            "{svg}"
        );
        assert!(nine_place(1.0).is_finite());
    }
}
