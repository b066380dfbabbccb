//! The ratios as a picture.

use std::fmt::Write;

use crate::contest::Role;
use crate::figures::times;
use crate::record::{Bound, Goal, Row};

const WIDTH: f64 = 1180.0;

/// Where bars begin, behind their labels.
const LEFT: f64 = 560.0;

/// Where bars end at most, before their figures.
const RIGHT: f64 = 1000.0;

const LINE: f64 = 18.0;

const STYLE: &str = "\
    text{font:12px system-ui,sans-serif;fill:#24292f}.h{font-size:17px;font-weight:600}.s{fill:#57606a}\
    .e{text-anchor:end}.g{font-weight:600}.yes{fill:#2da44e}.no{fill:#cf222e}.peer{fill:#54aeff}.slow{fill:#d4a72c}\
    .spread{stroke:#24292f;stroke-opacity:.55}.goal{stroke:#24292f;stroke-width:2.5}\
    .grid{stroke:#d0d7de}";

/// A picture of the goals, and of how ours compares with each peer.
pub(crate) fn draw(rows: &[Row], goals: &[Goal], machine: &str, date: &str) -> String {
    let mut picture = Picture {
        body: String::new(),
        y: 34.0,
    };
    picture.title(
        "What mp costs beside the physical limits and its peers",
        &format!("{machine}, {date}"),
    );
    picture.goals(goals);
    picture.comparisons(rows);
    let height = picture.y + 10.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\">\n\
         <style>{STYLE}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{}</svg>\n",
        picture.body
    )
}

struct Picture {
    body: String,
    y: f64,
}

/// Ratios on a bar's length.
#[derive(Clone, Copy)]
struct Axis {
    least: f64,
    most: f64,
    is_logarithmic: bool,
}

impl Axis {
    fn x(self, ratio: f64) -> f64 {
        let ratio = ratio.clamp(self.least, self.most);
        let part = if self.is_logarithmic {
            (ratio / self.least).ln() / (self.most / self.least).ln()
        } else {
            (ratio - self.least) / (self.most - self.least)
        };
        LEFT + part * (RIGHT - LEFT)
    }
}

impl Picture {
    fn title(&mut self, title: &str, below: &str) {
        self.text(20.0, "h", title);
        self.y += LINE;
        self.text(20.0, "s", below);
        self.y += LINE * 1.5;
    }

    fn goals(&mut self, goals: &[Goal]) {
        let at_most =
            |goal: &&Goal| matches!(goal.bound, Bound::AtMost(_)) && goal.measured.is_ok();
        let at_least =
            |goal: &&Goal| matches!(goal.bound, Bound::AtLeast(_)) && goal.measured.is_ok();
        let costs: Vec<_> = goals.iter().filter(at_most).collect();
        let speeds: Vec<_> = goals.iter().filter(at_least).collect();
        let title = "Goals: cost";
        self.goal_section(title, "shorter is better; the black mark is what the goal allows, the thin line the rounds' extremes", &costs);
        let title = "Goals: speed";
        self.goal_section(
            title,
            "longer is better; at least to the black mark",
            &speeds,
        );
    }

    fn goal_section(&mut self, title: &str, explanation: &str, goals: &[&Goal]) {
        if goals.is_empty() {
            return;
        }
        self.title(title, explanation);
        let axis = Axis {
            least: 0.0,
            most: 3.0,
            is_logarithmic: false,
        };
        self.grid(axis, &[0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0], goals.len());
        for goal in goals {
            let Ok(measured) = &goal.measured else {
                continue;
            };
            let (limit, bound) = match goal.bound {
                Bound::AtMost(bound) => ("at most", bound),
                Bound::AtLeast(bound) => ("at least", bound),
            };
            let class = if goal.is_met() == Some(true) {
                "yes"
            } else {
                "no"
            };
            self.label(&format!("{}: {}", goal.bench, goal.text));
            self.bar(class, axis.x(0.0), axis.x(measured.median));
            self.rule("spread", axis.x(measured.min), axis.x(measured.max));
            self.mark("goal", axis.x(bound));
            self.text(
                RIGHT + 12.0,
                "g",
                &format!("{}, {limit} {}", times(measured.median), times(bound)),
            );
            self.y += LINE;
        }
        self.y += LINE * 1.5;
    }

    /// One bar per peer, to the left of 1x where ours is slower.
    fn comparisons(&mut self, rows: &[Row]) {
        let is_peer = |row: &&Row| row.role == Role::Peer && row.ours_is_faster.is_some();
        let peers: Vec<_> = rows.iter().filter(is_peer).collect();
        if peers.is_empty() {
            return;
        }
        self.title(
            "Ours against its peers",
            "how many times as fast ours is, on a logarithmic scale: to the right of 1x ours is faster",
        );
        let axis = Axis {
            least: 0.02,
            most: 1000.0,
            is_logarithmic: true,
        };
        self.grid(axis, &[0.1, 1.0, 10.0, 100.0, 1000.0], peers.len());
        let mut case = "";
        for row in peers {
            let Some(faster) = row.ours_is_faster else {
                continue;
            };
            if row.case != case {
                case = &row.case;
                self.text(20.0, "g", &format!("{}: {}", row.bench, row.case));
            }
            let class = if faster.median < 1.0 { "slow" } else { "peer" };
            let (one, end) = (axis.x(1.0), axis.x(faster.median));
            self.label(&row.name);
            self.bar(class, one.min(end), one.max(end));
            self.rule("spread", axis.x(faster.min), axis.x(faster.max));
            self.text(RIGHT + 12.0, "", &times(faster.median));
            self.y += LINE;
        }
    }

    /// Vertical lines at `ticks` behind the next `lines` lines.
    fn grid(&mut self, axis: Axis, ticks: &[f64], lines: usize) {
        let (top, bottom) = (self.y + 6.0, self.y + 6.0 + LINE * lines as f64);
        for tick in ticks {
            let x = axis.x(*tick);
            self.element(format_args!(
                "<path class=\"grid\" d=\"M{x:.1} {top:.1}V{bottom:.1}\"/>"
            ));
            let label = if *tick < 1.0 {
                format!("{tick}x")
            } else {
                format!("{tick:.1}x").replace(".0x", "x")
            };
            let y = self.y;
            self.element(format_args!(
                "<text class=\"s\" text-anchor=\"middle\" x=\"{x:.1}\" y=\"{y:.1}\">{label}</text>"
            ));
        }
        self.y += LINE;
    }

    fn label(&mut self, text: &str) {
        self.text(LEFT - 10.0, "e", text);
    }

    fn text(&mut self, x: f64, class: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        let y = self.y;
        self.element(format_args!(
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>"
        ));
    }

    fn bar(&mut self, class: &str, from: f64, to: f64) {
        let (top, width) = (self.y - 11.0, (to - from).max(1.0));
        self.element(format_args!(
            "<rect class=\"{class}\" x=\"{from:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"14\" rx=\"2\"/>"
        ));
    }

    fn rule(&mut self, class: &str, from: f64, to: f64) {
        let y = self.y - 4.0;
        self.element(format_args!(
            "<path class=\"{class}\" d=\"M{from:.1} {y:.1}H{to:.1}\"/>"
        ));
    }

    fn mark(&mut self, class: &str, x: f64) {
        let (top, bottom) = (self.y - 13.0, self.y + 5.0);
        self.element(format_args!(
            "<path class=\"{class}\" d=\"M{x:.1} {top:.1}V{bottom:.1}\"/>"
        ));
    }

    fn element(&mut self, element: std::fmt::Arguments<'_>) {
        writeln!(self.body, "{element}").expect("a String takes all");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Spread;

    #[test]
    fn names_are_escaped_and_unmeasured_goals_left_out() {
        let goal = |text: &str, measured| Goal {
            bench: "lock".into(),
            text: text.into(),
            bound: Bound::AtMost(1.0),
            measured,
        };
        let spread = Spread {
            min: 0.5,
            median: 0.9,
            max: 9.0,
        };
        let goals = [
            goal("Queue<u64>", Ok(spread)),
            goal("unknown", Err("not measured".into())),
        ];
        let picture = draw(&[], &goals, "a & b", "today");
        assert!(picture.contains("Queue&lt;u64>") && picture.contains("a &amp; b"));
        assert!(picture.contains("class=\"yes\"") && !picture.contains("unknown"));
    }
}
