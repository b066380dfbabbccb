//! A picture as packed rows of red, green and blue bytes: read from PNG or JPEG, written as PNG.

use std::error::Error;
use std::fmt::{self, Display, Formatter};
use std::fs::{self, File};
use std::io::{self, BufWriter, Cursor};
use std::path::Path;

use png::{BitDepth, ColorType, Transformations};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// The most pixels accepted (8192 x 8192): a small file can claim any size.
pub(crate) const MAX_PIXELS: usize = 1 << 26;

const PNG_MAGIC: [u8; 8] = *b"\x89PNG\r\n\x1a\n";
const JPEG_MAGIC: [u8; 3] = [0xff, 0xd8, 0xff];

/// Rows from top to bottom, without padding, three bytes per pixel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    /// Pixels per row, at least 1.
    pub(crate) width: usize,
    /// Rows, at least 1.
    pub(crate) height: usize,
    /// `3 * width * height` bytes.
    pub(crate) pixels: Vec<u8>,
}

/// Why there is no picture.
#[derive(Debug)]
pub(crate) enum PictureError {
    /// The file cannot be read.
    Unreadable(io::Error),
    /// The file has no bytes.
    EmptyFile,
    /// The bytes are neither PNG nor JPEG.
    UnknownFormat,
    /// One side of the picture is 0.
    NoPixels {
        /// As the file says.
        width: usize,
        /// As the file says.
        height: usize,
    },
    /// More than [`MAX_PIXELS`].
    TooLarge {
        /// As the file says.
        width: usize,
        /// As the file says.
        height: usize,
    },
    /// A PNG that is cut short or damaged.
    Png(png::DecodingError),
    /// A JPEG that is cut short or damaged; the decoder's own words.
    Jpeg(String),
}

impl Display for PictureError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, "{error}"),
            Self::EmptyFile => write!(f, "the file is empty; a PNG or JPEG is needed"),
            Self::UnknownFormat => write!(f, "neither a PNG nor a JPEG; convert it to one of them"),
            Self::NoPixels { width, height } => {
                write!(f, "the picture is empty ({width} x {height} pixels)")
            }
            Self::TooLarge { width, height } => write!(
                f,
                "{width} x {height} pixels, at most {MAX_PIXELS} are accepted; scale it down"
            ),
            Self::Png(error) => write!(f, "damaged PNG: {error}"),
            Self::Jpeg(error) => write!(f, "damaged JPEG: {error}"),
        }
    }
}

impl Error for PictureError {}

impl Picture {
    /// Reads a PNG or JPEG file.
    ///
    /// # Errors
    /// When the file cannot be read or does not hold an acceptable picture.
    pub(crate) fn load(path: &Path) -> Result<Self, PictureError> {
        Self::decode(&fs::read(path).map_err(PictureError::Unreadable)?)
    }

    /// Decodes the bytes of a PNG or JPEG file; which of them, the first bytes say.
    ///
    /// # Errors
    /// When they do not hold an acceptable picture.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, PictureError> {
        if bytes.is_empty() {
            Err(PictureError::EmptyFile)
        } else if bytes.starts_with(&PNG_MAGIC) {
            decode_png(bytes)
        } else if bytes.starts_with(&JPEG_MAGIC) {
            decode_jpeg(bytes)
        } else {
            Err(PictureError::UnknownFormat)
        }
    }

    /// The colour at a column and a row.
    ///
    /// # Panics
    /// Outside of the picture.
    pub(crate) fn colour(&self, x: usize, y: usize) -> [u8; 3] {
        self.pixels.as_chunks::<3>().0[y * self.width + x]
    }

    /// The same picture with each side `factor` times as long, interpolated linearly in integers.
    ///
    /// # Panics
    /// When `factor` is 0.
    pub(crate) fn enlarged(&self, factor: usize) -> Self {
        let (columns, rows) = (taps(self.width, factor), taps(self.height, factor));
        let unit = 4 * factor * factor;
        let mut pixels = Vec::with_capacity(3 * columns.len() * rows.len());
        for down in &rows {
            for across in &columns {
                let corners = [
                    (
                        self.colour(across.first, down.first),
                        across.near() * down.near(),
                    ),
                    (
                        self.colour(across.second, down.first),
                        across.far * down.near(),
                    ),
                    (
                        self.colour(across.first, down.second),
                        across.near() * down.far,
                    ),
                    (
                        self.colour(across.second, down.second),
                        across.far * down.far,
                    ),
                ];
                pixels.extend((0..3).map(|channel| {
                    let sum: usize = corners
                        .iter()
                        .map(|(c, w)| usize::from(c[channel]) * w)
                        .sum();
                    ((sum + unit / 2) / unit) as u8
                }));
            }
        }
        Self {
            width: columns.len(),
            height: rows.len(),
            pixels,
        }
    }

    /// Writes the picture as a PNG file.
    ///
    /// # Errors
    /// When the file cannot be created or written.
    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        let file = BufWriter::new(File::create(path)?);
        let mut encoder = png::Encoder::new(file, self.width as u32, self.height as u32);
        encoder.set_color(ColorType::Rgb);
        encoder.set_depth(BitDepth::Eight);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.pixels)?;
        Ok(writer.finish()?)
    }
}

/// The two neighbours that an enlarged pixel lies between, and its distance from the first.
struct Tap {
    first: usize,
    second: usize,
    /// Weight of the second, in parts of `whole`.
    far: usize,
    whole: usize,
}

impl Tap {
    fn near(&self) -> usize {
        self.whole - self.far
    }
}

fn taps(len: usize, factor: usize) -> Vec<Tap> {
    let whole = 2 * factor;
    let tap = |i: usize| {
        let place = (2 * i + 1).saturating_sub(factor);
        let first = place / whole;
        Tap {
            first,
            second: (first + 1).min(len - 1),
            far: place % whole,
            whole,
        }
    };
    (0..len * factor).map(tap).collect()
}

fn check_size(width: usize, height: usize) -> Result<(), PictureError> {
    match width.checked_mul(height) {
        Some(0) => Err(PictureError::NoPixels { width, height }),
        Some(1..=MAX_PIXELS) => Ok(()),
        _ => Err(PictureError::TooLarge { width, height }),
    }
}

/// Refuses a PNG by the sizes in its header: the decoder reports an empty one as damaged.
fn check_png_header(bytes: &[u8]) -> Result<(), PictureError> {
    let side = |at: usize| {
        bytes
            .get(at..at + 4)?
            .try_into()
            .ok()
            .map(u32::from_be_bytes)
    };
    match (side(16), side(20)) {
        (Some(width), Some(height)) => check_size(width as usize, height as usize),
        _ => Ok(()),
    }
}

fn decode_png(bytes: &[u8]) -> Result<Picture, PictureError> {
    check_png_header(bytes)?;
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    let mut reader = decoder.read_info().map_err(PictureError::Png)?;
    let (width, height) = (reader.info().width as usize, reader.info().height as usize);
    let size = reader
        .output_buffer_size()
        .ok_or(PictureError::TooLarge { width, height })?;
    let mut samples = vec![0; size];
    let frame = reader.next_frame(&mut samples).map_err(PictureError::Png)?;
    samples.truncate(frame.buffer_size());
    let pixels = match frame.color_type {
        ColorType::Rgb | ColorType::Indexed => samples,
        ColorType::Grayscale => samples.into_iter().flat_map(|grey| [grey; 3]).collect(),
        ColorType::Rgba => {
            let pixels = samples.as_chunks::<4>().0.iter();
            pixels
                .flat_map(|&[r, g, b, alpha]| [r, g, b].map(|c| on_white(c, alpha)))
                .collect()
        }
        ColorType::GrayscaleAlpha => {
            let pixels = samples.as_chunks::<2>().0.iter();
            pixels
                .flat_map(|&[grey, alpha]| [on_white(grey, alpha); 3])
                .collect()
        }
    };
    Ok(Picture {
        width,
        height,
        pixels,
    })
}

fn on_white(channel: u8, alpha: u8) -> u8 {
    let (channel, alpha) = (u32::from(channel), u32::from(alpha));
    ((channel * alpha + 255 * (255 - alpha) + 127) / 255) as u8
}

fn decode_jpeg(bytes: &[u8]) -> Result<Picture, PictureError> {
    let damaged = |error: zune_jpeg::errors::DecodeErrors| {
        PictureError::Jpeg(
            error
                .to_string()
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned(),
        )
    };
    // The decoder's own limits would hide the figures; 65535 is what the format can say.
    let options = DecoderOptions::default()
        .set_max_width(0xffff)
        .set_max_height(0xffff)
        .set_strict_mode(true)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(damaged)?;
    let (width, height) = decoder.dimensions().unwrap_or_default();
    check_size(width, height)?;
    let pixels = decoder.decode().map_err(damaged)?;
    if pixels.len() != 3 * width * height {
        return Err(PictureError::Jpeg(format!(
            "{} bytes of {width} x {height}",
            pixels.len()
        )));
    }
    Ok(Picture {
        width,
        height,
        pixels,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png_bytes(
        color: ColorType,
        depth: BitDepth,
        (width, height): (u32, u32),
        samples: &[u8],
    ) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, width, height);
        encoder.set_color(color);
        encoder.set_depth(depth);
        if color == ColorType::Indexed {
            encoder.set_palette(vec![1, 2, 3, 40, 50, 60]);
        }
        let mut writer = encoder.write_header().expect("a header in memory");
        writer
            .write_image_data(samples)
            .expect("samples of the right length");
        writer.finish().expect("an end in memory");
        bytes
    }

    fn pixels_of(color: ColorType, depth: BitDepth, samples: &[u8]) -> Vec<u8> {
        let picture = Picture::decode(&png_bytes(color, depth, (2, 1), samples));
        picture.expect("a good PNG").pixels
    }

    fn message(bytes: &[u8]) -> String {
        Picture::decode(bytes).expect_err("no picture").to_string()
    }

    #[test]
    fn every_colour_type_becomes_rgb() {
        use BitDepth::{Eight, One, Sixteen};
        assert_eq!(
            pixels_of(ColorType::Rgb, Eight, &[1, 2, 3, 4, 5, 6]),
            [1, 2, 3, 4, 5, 6]
        );
        assert_eq!(
            pixels_of(ColorType::Grayscale, Eight, &[7, 9]),
            [7, 7, 7, 9, 9, 9]
        );
        assert_eq!(
            pixels_of(ColorType::Grayscale, One, &[0b0100_0000]),
            [0, 0, 0, 255, 255, 255]
        );
        assert_eq!(
            pixels_of(ColorType::Indexed, One, &[0b1000_0000]),
            [40, 50, 60, 1, 2, 3]
        );
        assert_eq!(
            pixels_of(ColorType::Grayscale, Sixteen, &[8, 1, 9, 2]),
            [8, 8, 8, 9, 9, 9]
        );
        let deep = [1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0];
        assert_eq!(
            pixels_of(ColorType::Rgb, Sixteen, &deep),
            [1, 2, 3, 4, 5, 6]
        );
    }

    #[test]
    fn alpha_is_blended_on_white() {
        let samples = [10, 20, 30, 255, 10, 20, 30, 0];
        let rgba = pixels_of(ColorType::Rgba, BitDepth::Eight, &samples);
        assert_eq!(rgba, [10, 20, 30, 255, 255, 255]);
        let grey = pixels_of(
            ColorType::GrayscaleAlpha,
            BitDepth::Eight,
            &[0, 51, 100, 255],
        );
        assert_eq!(grey, [204, 204, 204, 100, 100, 100]);
    }

    #[test]
    fn what_is_no_picture_says_so() {
        assert_eq!(message(b""), "the file is empty; a PNG or JPEG is needed");
        assert_eq!(
            message(b"GIF89a"),
            "neither a PNG nor a JPEG; convert it to one of them"
        );
        let missing = Picture::load(Path::new("/nowhere/cat.png")).expect_err("no file");
        assert!(missing.to_string().starts_with("No such file"), "{missing}");
    }

    #[test]
    fn sizes_are_refused_by_the_header() {
        let good = png_bytes(ColorType::Grayscale, BitDepth::Eight, (2, 1), &[0, 0]);
        let with_size = |width: u32, height: u32| {
            let mut bytes = good.clone();
            bytes[16..20].copy_from_slice(&width.to_be_bytes());
            bytes[20..24].copy_from_slice(&height.to_be_bytes());
            message(&bytes)
        };
        assert_eq!(with_size(0, 5), "the picture is empty (0 x 5 pixels)");
        assert_eq!(
            with_size(8193, 8192),
            "8193 x 8192 pixels, at most 67108864 are accepted; scale it down"
        );
        assert!(with_size(u32::MAX, u32::MAX).contains("scale it down"));
    }

    #[test]
    fn cut_and_damaged_files_are_one_line_errors() {
        let samples = [9; 3 * 64 * 64];
        let png = png_bytes(ColorType::Rgb, BitDepth::Eight, (64, 64), &samples);
        let jpeg = include_bytes!("coffee.jpg");
        for cut in [8, 12, 30, png.len() / 2] {
            let message = message(&png[..cut]);
            assert!(message.starts_with("damaged PNG") && message.lines().count() == 1);
        }
        for cut in [3, 20, 200] {
            let message = message(&jpeg[..cut]);
            assert!(message.starts_with("damaged JPEG") && message.lines().count() == 1);
        }
    }

    #[test]
    fn the_photograph_decodes() {
        let coffee = Picture::decode(include_bytes!("coffee.jpg")).expect("our own file");
        assert_eq!(
            (coffee.width, coffee.height, coffee.pixels.len()),
            (600, 400, 720_000)
        );
        let [red, green, blue] = coffee.colour(130, 200);
        assert!(
            red > green + 40 && red > blue + 40,
            "the saucer is red: {red} {green} {blue}"
        );
    }

    #[test]
    fn enlarging_keeps_flat_colours_and_interpolates_between() {
        let two = Picture {
            width: 2,
            height: 1,
            pixels: vec![0, 0, 9, 80, 255, 9],
        };
        assert_eq!(two.enlarged(1), two);
        let twice = two.enlarged(2);
        assert_eq!((twice.width, twice.height), (4, 2));
        let row = [0, 0, 9, 20, 64, 9, 60, 191, 9, 80, 255, 9];
        assert_eq!(twice.pixels, [row, row].concat());
    }

    #[test]
    fn a_saved_picture_loads_again() {
        let path = std::env::temp_dir().join(format!("kmeans-saved-{}.png", std::process::id()));
        let picture = Picture {
            width: 2,
            height: 2,
            pixels: (0..12).collect(),
        };
        picture.save(&path).expect("a writable temporary directory");
        let loaded = Picture::load(&path);
        fs::remove_file(&path).expect("the file just written");
        assert_eq!(loaded.expect("our own PNG"), picture);
    }
}
