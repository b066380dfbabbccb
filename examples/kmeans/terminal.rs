//! The picture in the terminal: half blocks, redrawn in place, one write per frame.
//!
//! An upper half block has two colours, its own above and the background's below, so one cell
//! shows two square pixels. The cursor is hidden and shown again within each frame: a program that
//! is killed between two frames leaves the terminal as it was.

use std::env;
use std::fmt::{self, Display, Formatter, Write as _};
use std::io::{self, IsTerminal, Stdout, Write as _};
use std::ops::Range;
use std::time::Duration;

use rustix::termios::tcgetwinsize;

use crate::clusters::{Colour, luminance};

/// Columns left of the picture: a mark and a gap.
const GUTTER: usize = 2;
/// Columns of the progress bar.
const BAR: usize = 24;

const RESET: &str = "\x1b[0m";
const DIM: &str = "\x1b[2m";
/// Clears what an earlier, longer line left behind.
const END_OF_LINE: &str = "\x1b[0m\x1b[K\n";
/// Holds the screen back until the frame is complete; terminals that cannot, ignore it.
const BEGIN_FRAME: &str = "\x1b[?2026h\x1b[?25l";
const END_FRAME: &str = "\x1b[?25h\x1b[?2026l";

/// One colour per worker, far apart from each other on dark and on light ground.
const WORKERS: [Colour; 8] = [
    [64, 196, 255],
    [255, 196, 0],
    [124, 220, 90],
    [232, 120, 255],
    [255, 138, 76],
    [64, 224, 200],
    [150, 150, 255],
    [255, 120, 170],
];
const DEATH: Colour = [255, 48, 48];

/// Cells of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    /// Cells per line.
    pub(crate) columns: usize,
    /// Lines.
    pub(crate) lines: usize,
}

/// What happens to some rows of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sign {
    /// A worker is at them.
    Working,
    /// Their worker died.
    Died,
    /// Another worker does again what the dead one left.
    Redone,
}

/// Rows of the picture that carry a sign in the gutter, in their worker's colour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Rows of the picture, not lines of the terminal.
    pub(crate) rows: Range<usize>,
    /// Counted from 0.
    pub(crate) worker: usize,
    /// What happens there.
    pub(crate) sign: Sign,
}

/// How far the work is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Progress {
    /// Rounds done.
    pub(crate) round: usize,
    /// Rounds at most.
    pub(crate) rounds: usize,
    /// The root of the mean squared distance between a pixel and its centre.
    pub(crate) distance: f64,
    /// Since the start.
    pub(crate) elapsed: Duration,
}

impl Display for Progress {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            round,
            rounds,
            distance,
            elapsed,
        } = self;
        let digits = rounds.to_string().len();
        let seconds = elapsed.as_secs_f64();
        write!(
            f,
            "round {round:>digits$}/{rounds}  error {distance:6.3}  {seconds:5.2} s"
        )
    }
}

/// Everything that one frame shows.
pub(crate) struct View<'a> {
    /// Pixels per row, at least 1.
    pub(crate) width: usize,
    /// Rows, at least 1.
    pub(crate) height: usize,
    /// The colour at a column and a row.
    pub(crate) colour: &'a dyn Fn(usize, usize) -> Colour,
    /// Who is where; where several meet in one line, the gravest sign is shown.
    pub(crate) marks: &'a [Mark],
    /// The colours the picture is reduced to.
    pub(crate) palette: &'a [Colour],
    /// The line below the palette.
    pub(crate) progress: Progress,
    /// Plain lines below it.
    pub(crate) notes: &'a [String],
}

/// Draws a view for a terminal of this size; each line ends in a line feed.
///
/// The picture keeps its proportions and is never enlarged; picture, palette, progress and notes
/// leave the last line of the terminal free.
pub(crate) fn frame(view: &View<'_>, size: Size) -> String {
    let below = 2 + view.notes.len();
    let columns = size.columns.saturating_sub(GUTTER + 1).clamp(1, view.width);
    let lines = size.lines.saturating_sub(below + 1).max(1);
    let columns = columns.min((2 * lines * view.width / view.height).max(1));
    let lines = (columns * view.height)
        .div_ceil(2 * view.width)
        .clamp(1, lines);

    let mut text = String::with_capacity(lines * columns * 24);
    for line in 0..lines {
        push_sign(&mut text, sign_at(view, line, lines));
        push_pixels(&mut text, view, line, (columns, lines));
        text.push_str(END_OF_LINE);
    }
    push_palette(
        &mut text,
        view.palette,
        size.columns.saturating_sub(GUTTER + 1),
    );
    push_progress(&mut text, &view.progress, size.columns);
    for note in view.notes {
        let printable = note.chars().filter(|c| !c.is_control());
        text.push_str("  ");
        text.extend(printable.take(size.columns.saturating_sub(GUTTER + 1)));
        text.push_str(END_OF_LINE);
    }
    text
}

fn sign_at<'a>(view: &View<'a>, line: usize, lines: usize) -> Option<&'a Mark> {
    let (first, behind) = (line * view.height / lines, (line + 1) * view.height / lines);
    let here = view
        .marks
        .iter()
        .filter(|m| m.rows.start < behind.max(first + 1));
    here.filter(|m| m.rows.end > first).max_by_key(|m| m.sign)
}

fn push_sign(text: &mut String, mark: Option<&Mark>) {
    let Some(mark) = mark else {
        text.push_str("  ");
        return;
    };
    let (colour, sign) = match mark.sign {
        Sign::Working => (worker_colour(mark.worker), "▐ "),
        Sign::Redone => (worker_colour(mark.worker), "↻ "),
        Sign::Died => (DEATH, "✗ "),
    };
    push_colour(text, 38, colour);
    text.push_str(sign);
}

/// The colour of a worker's marks.
pub(crate) fn worker_colour(worker: usize) -> Colour {
    WORKERS[worker % WORKERS.len()]
}

/// One line of half blocks; a colour is set only where it changes.
fn push_pixels(text: &mut String, view: &View<'_>, line: usize, (columns, lines): (usize, usize)) {
    let (mut above, mut below) = (None, None);
    for column in 0..columns {
        let across = column * view.width / columns..(column + 1) * view.width / columns;
        let shown = |half: usize| {
            let y = 2 * line + half;
            let down = y * view.height / (2 * lines)..(y + 1) * view.height / (2 * lines);
            prevailing_colour(view.colour, &across, &down)
        };
        let (upper, lower) = (shown(0), shown(1));
        if below.replace(lower) != Some(lower) {
            push_colour(text, 48, lower);
        }
        if upper == lower {
            text.push(' ');
            continue;
        }
        if above.replace(upper) != Some(upper) {
            push_colour(text, 38, upper);
        }
        text.push('▀');
    }
}

/// The most frequent of nine colours spread over an area; of equally frequent ones, the one nearest
/// to the middle.
///
/// A mean would show colours that the reduced picture does not have, the middle alone would
/// glitter.
fn prevailing_colour(
    colour: &dyn Fn(usize, usize) -> Colour,
    across: &Range<usize>,
    down: &Range<usize>,
) -> Colour {
    let sixth = |range: &Range<usize>, part: usize| range.start + part * range.len() / 6;
    // The middle comes first and the corners last.
    let places = [
        (3, 3),
        (3, 1),
        (1, 3),
        (5, 3),
        (3, 5),
        (1, 1),
        (5, 1),
        (1, 5),
        (5, 5),
    ];
    let samples = places.map(|(x, y)| colour(sixth(across, x), sixth(down, y)));
    let votes = |sample: &Colour| samples.iter().filter(|other| *other == sample).count();
    // The last of equals is the greatest to max_by_key.
    samples
        .into_iter()
        .rev()
        .max_by_key(votes)
        .unwrap_or_default()
}

/// `ground` is 38 for the foreground, 48 for the background.
fn push_colour(text: &mut String, ground: u8, [red, green, blue]: Colour) {
    write!(text, "\x1b[{ground};2;{red};{green};{blue}m").expect("a String takes all text");
}

/// A strip of the colours from dark to light.
fn push_palette(text: &mut String, palette: &[Colour], columns: usize) {
    let mut palette = palette.to_vec();
    palette.sort_by_key(|&colour| (luminance(colour), colour));
    let wide = if 2 * palette.len() <= columns {
        "  "
    } else {
        " "
    };
    text.push_str("  ");
    for &colour in palette.iter().take(columns) {
        push_colour(text, 48, colour);
        text.push_str(wide);
    }
    text.push_str(END_OF_LINE);
}

fn push_progress(text: &mut String, progress: &Progress, columns: usize) {
    let words = progress.to_string();
    text.push_str("  ");
    if columns > GUTTER + BAR + 2 + words.len() {
        let done = BAR * progress.round.min(progress.rounds) / progress.rounds.max(1);
        push_colour(text, 38, worker_colour(0));
        text.push_str(&"━".repeat(done));
        text.push_str(RESET);
        text.push_str(DIM);
        text.push_str(&"━".repeat(BAR - done));
        text.push_str(RESET);
        text.push_str("  ");
    }
    text.extend(words.chars().take(columns.saturating_sub(GUTTER + 1)));
    text.push_str(END_OF_LINE);
}

/// Standard output, when it is a terminal that draws.
pub(crate) struct Terminal {
    out: Stdout,
    last: Option<(Size, usize)>,
}

impl Terminal {
    /// Finds the terminal; `None` when standard output is a file or a pipe, or a dumb terminal.
    pub(crate) fn find() -> Option<Self> {
        let out = io::stdout();
        let draws = env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
        (out.is_terminal() && draws).then_some(Self { out, last: None })
    }

    /// Draws a view where the one before it was.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub(crate) fn draw(&mut self, view: &View<'_>) -> io::Result<()> {
        let size = self.size();
        let picture = frame(view, size);
        let lines = picture.matches('\n').count();
        let place = match self.last.replace((size, lines)) {
            None => String::new(),
            Some((before, up)) if before == size => format!("\x1b[{up}F"),
            // A resized terminal has wrapped the old frame in its own way: start on a clear screen.
            Some(_) => String::from("\x1b[2J\x1b[H"),
        };
        // Behind a frame that was higher, what is left of it goes.
        let text = format!("{BEGIN_FRAME}{place}{picture}\x1b[J{END_FRAME}");
        let mut out = self.out.lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    fn size(&self) -> Size {
        let kernel = tcgetwinsize(&self.out).ok();
        let from = |cells: Option<u16>, name: &str, usual: usize| {
            let cells = cells.filter(|&cells| cells > 0).map(usize::from);
            let variable = || env::var(name).ok()?.parse().ok().filter(|&cells| cells > 0);
            cells.or_else(variable).unwrap_or(usual)
        };
        Size {
            columns: from(kernel.map(|k| k.ws_col), "COLUMNS", 80),
            lines: from(kernel.map(|k| k.ws_row), "LINES", 24),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRESS: Progress = Progress {
        round: 3,
        rounds: 12,
        distance: 8.25,
        elapsed: Duration::from_millis(1500),
    };

    fn view<'a>(
        (width, height): (usize, usize),
        colour: &'a dyn Fn(usize, usize) -> Colour,
        marks: &'a [Mark],
        notes: &'a [String],
    ) -> View<'a> {
        View {
            width,
            height,
            colour,
            marks,
            palette: &[[9; 3], [1; 3]],
            progress: PROGRESS,
            notes,
        }
    }

    /// The text without its colours.
    fn bare(text: &str) -> String {
        let mut parts = text.split('\x1b');
        let first = parts.next().unwrap_or_default().to_owned();
        let behind = |part: &str| {
            let end = part
                .find(|c: char| c.is_ascii_alphabetic())
                .expect("a complete sequence");
            part[end + 1..].to_owned()
        };
        first + &parts.map(behind).collect::<String>()
    }

    fn stripes(_: usize, y: usize) -> Colour {
        [y as u8; 3]
    }

    #[test]
    fn one_cell_shows_two_pixels() {
        let text = frame(
            &view((1, 2), &stripes, &[], &[]),
            Size {
                columns: 80,
                lines: 24,
            },
        );
        let first = text.lines().next();
        assert_eq!(
            first,
            Some("  \x1b[48;2;1;1;1m\x1b[38;2;0;0;0m▀\x1b[0m\x1b[K")
        );
    }

    #[test]
    fn equal_neighbours_set_their_colour_once() {
        let text = frame(
            &view((40, 2), &|_, _| [7; 3], &[], &[]),
            Size {
                columns: 80,
                lines: 24,
            },
        );
        let first = text.lines().next().expect("a line");
        assert_eq!(first.matches("8;2;7;7;7m").count(), 1);
        assert_eq!(bare(first), " ".repeat(42));
    }

    #[test]
    fn every_line_fits_and_the_last_one_stays_free() {
        let notes = ["a note that is much longer than most terminals are wide ".repeat(9)];
        for (columns, lines) in [(80, 24), (200, 50), (20, 10), (3, 3), (1, 1), (300, 12)] {
            for picture in [(600, 400), (1, 1), (1, 900), (900, 1), (64, 64)] {
                let text = frame(
                    &view(picture, &stripes, &[], &notes),
                    Size { columns, lines },
                );
                let drawn = bare(&text);
                assert!(
                    drawn.lines().count() <= (lines - 1).max(4),
                    "{columns} x {lines}"
                );
                let widest = drawn.lines().map(|line| line.chars().count()).max();
                assert!(
                    widest < Some(columns.max(4)),
                    "{columns} x {lines} {picture:?} {widest:?}"
                );
            }
        }
    }

    #[test]
    fn the_picture_keeps_its_proportions() {
        let text = frame(
            &view((600, 400), &stripes, &[], &[]),
            Size {
                columns: 63,
                lines: 90,
            },
        );
        let drawn = bare(&text);
        assert_eq!(drawn.lines().count(), 20 + 2);
        assert_eq!(
            drawn.lines().next().map(|line| line.chars().count()),
            Some(2 + 60)
        );
    }

    #[test]
    fn marks_stand_beside_their_rows_in_their_worker_s_colour() {
        let marks = [
            Mark {
                rows: 0..20,
                worker: 0,
                sign: Sign::Working,
            },
            Mark {
                rows: 20..40,
                worker: 1,
                sign: Sign::Died,
            },
            Mark {
                rows: 20..30,
                worker: 0,
                sign: Sign::Working,
            },
            Mark {
                rows: 60..80,
                worker: 1,
                sign: Sign::Redone,
            },
        ];
        let text = frame(
            &view((80, 80), &stripes, &marks, &[]),
            Size {
                columns: 11,
                lines: 24,
            },
        );
        let drawn: String = bare(&text)
            .lines()
            .filter_map(|line| line.chars().next())
            .collect();
        assert_eq!(drawn, "▐✗ ↻  ", "four lines of 20 rows, palette, progress");
        let [red, green, blue] = worker_colour(1);
        let redone = text.lines().nth(3).expect("four lines of picture");
        assert!(
            redone.starts_with(&format!("\x1b[38;2;{red};{green};{blue}m↻ ")),
            "{redone:?}"
        );
    }

    #[test]
    fn a_mark_of_one_row_is_seen() {
        let marks = [Mark {
            rows: 399..400,
            worker: 2,
            sign: Sign::Working,
        }];
        let text = frame(
            &view((600, 400), &stripes, &marks, &[]),
            Size {
                columns: 43,
                lines: 40,
            },
        );
        assert_eq!(bare(&text).matches('▐').count(), 1);
    }

    #[test]
    fn progress_is_one_plain_line_and_a_quarter_of_the_bar() {
        assert_eq!(PROGRESS.to_string(), "round  3/12  error  8.250   1.50 s");
        let text = frame(
            &view((2, 2), &stripes, &[], &[]),
            Size {
                columns: 80,
                lines: 24,
            },
        );
        let bar = text.lines().last().expect("the progress line");
        assert!(bar.contains(&format!(
            "m{}\x1b[0m\x1b[2m{}",
            "━".repeat(6),
            "━".repeat(18)
        )));
        assert!(bare(bar).ends_with("round  3/12  error  8.250   1.50 s"));
    }

    #[test]
    fn the_palette_goes_from_dark_to_light() {
        let text = frame(
            &view((2, 2), &stripes, &[], &[]),
            Size {
                columns: 80,
                lines: 24,
            },
        );
        let strip = text.lines().nth(1).expect("the palette");
        assert_eq!(strip, "  \x1b[48;2;1;1;1m  \x1b[48;2;9;9;9m  \x1b[0m\x1b[K");
    }

    #[test]
    fn notes_cannot_move_the_cursor() {
        let notes = [String::from("gone\x1b[2J\nback")];
        let text = frame(
            &view((2, 2), &stripes, &[], &notes),
            Size {
                columns: 80,
                lines: 24,
            },
        );
        assert_eq!(text.lines().last(), Some("  gone[2Jback\x1b[0m\x1b[K"));
    }
}
