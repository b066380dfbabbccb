//! What a person sees of the work: the picture and the workers in a terminal, plain lines
//! elsewhere.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use crate::clusters::Colour;
use crate::crew::Crew;
use crate::terminal::{Mark, Progress, Terminal, View};

/// Frames follow each other at least this far apart.
const FRAME_TIME: Duration = Duration::from_millis(40);

/// The state to show.
pub(crate) struct Scene {
    pub(crate) centres: Vec<Colour>,
    pub(crate) progress: Progress,
    /// In rows of the enlarged picture.
    pub(crate) marks: Vec<Mark>,
}

/// Where the work is shown.
pub(crate) struct Show {
    terminal: Option<Terminal>,
    last_frame: Option<Instant>,
    last_distance: f64,
    notes: Vec<String>,
    /// Size of the picture as it was loaded, and how often it was enlarged.
    width: usize,
    height: usize,
    factor: usize,
    /// One label per pixel of the loaded picture, as the last complete round gave them.
    labels: Vec<u8>,
}

impl Show {
    /// Shows a picture of this size in the terminal, if there is one.
    pub(crate) fn new(width: usize, height: usize, factor: usize) -> Self {
        Self {
            terminal: Terminal::find(),
            last_frame: None,
            last_distance: 0.0,
            notes: Vec::new(),
            width,
            height,
            factor,
            labels: Vec::new(),
        }
    }

    /// Says something that stays to be read.
    pub(crate) fn note(&mut self, line: String) {
        if self.terminal.is_none() {
            say(&line);
        }
        self.notes.push(line);
    }

    /// Takes over the labels of the round that is complete; the next may start meanwhile.
    pub(crate) fn take_labels(&mut self, crew: &Crew) -> mp::Result<()> {
        if self.terminal.is_none() {
            return Ok(());
        }
        let labels = crew.lock_labels()?;
        let (width, factor) = (self.width * self.factor, self.factor);
        let rows = labels.chunks_exact(width).step_by(factor);
        self.labels = rows
            .flat_map(|row| row.iter().step_by(factor).copied())
            .collect();
        Ok(())
    }

    /// Shows a moment within a round, if it is time for another frame.
    pub(crate) fn frame(&mut self, mut scene: Scene) {
        let recent = self.last_frame.is_some_and(|at| at.elapsed() < FRAME_TIME);
        if !recent && !self.labels.is_empty() {
            scene.progress.distance = self.last_distance;
            self.draw(&scene);
        }
    }

    /// Shows a complete round: as a line, or in the next frame, in which its successor's workers
    /// are to be seen.
    pub(crate) fn round(&mut self, scene: &Scene) {
        self.last_distance = scene.progress.distance;
        if self.terminal.is_none() {
            say(&scene.progress);
        }
    }

    /// Shows the picture as the last round left it.
    pub(crate) fn end(&mut self, mut scene: Scene) {
        scene.progress.distance = self.last_distance;
        scene.marks.clear();
        self.draw(&scene);
    }

    /// Draws the picture; a terminal that is gone takes nothing from the result.
    fn draw(&mut self, scene: &Scene) {
        let Some(terminal) = &mut self.terminal else {
            return;
        };
        let (labels, width, factor) = (&self.labels, self.width, self.factor);
        let colour = |x, y| scene.centres[usize::from(labels[y * width + x])];
        let scaled = |mark: &Mark| {
            let rows = mark.rows.start / factor..mark.rows.end.div_ceil(factor);
            Mark {
                rows,
                ..mark.clone()
            }
        };
        let marks: Vec<_> = scene.marks.iter().map(scaled).collect();
        drop(terminal.draw(&View {
            width,
            height: self.height,
            colour: &colour,
            marks: &marks,
            palette: &scene.centres,
            progress: scene.progress,
            notes: &self.notes,
        }));
        self.last_frame = Some(Instant::now());
    }
}

/// Prints a line. A reader that has gone away (`| head`) takes nothing from the result, so that
/// the failure is not one of the program.
pub(crate) fn say(line: &dyn Display) {
    drop(writeln!(io::stdout(), "{line}"));
}
