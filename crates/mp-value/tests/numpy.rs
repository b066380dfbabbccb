//! numpy itself opens our elements, and we its files.

#[path = "shared/python.rs"]
mod python;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use mp_layout::{Complex, ErrorKind, Plain};
use mp_testkit::UniqueName;
use mp_value::{Array, NdArray, NdReader, RawArray};
use python::{matplotlib, numpy};

#[derive(Clone, Copy, Debug, PartialEq, Plain)]
#[repr(C)]
struct Particle {
    at: [f64; 3],
    mass: f32,
    charge: i16,
    kind: Kind,
    alive: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Plain)]
#[repr(u8)]
enum Kind {
    Electron,
    Proton,
}

const ELECTRON: Particle = Particle {
    at: [1.0, 2.0, 3.0],
    mass: 0.5,
    charge: -1,
    kind: Kind::Electron,
    alive: true,
};

#[test]
fn opens_an_array_of_structures() {
    let array = Array::filled(3, ELECTRON).unwrap();
    let line = array.numpy_line();
    assert!(
        line.contains(
            "dtype=[('at', '<f8', (3,)), ('mass', '<f4'), ('charge', '<i2'), ('kind', '|u1'), ('alive', '|b1')]"
        ),
        "{line}"
    );
    let Some(seen) = numpy(&format!(
        "a = {line}\nprint(a['at'].sum(), a['mass'][2], a['charge'][0], a['alive'].all())\na['kind'][1] = 1\na['at'][1, 2] = -4.0"
    )) else {
        return;
    };
    assert_eq!(seen, "18.0 0.5 -1 True");
    let changed = Particle {
        at: [1.0, 2.0, -4.0],
        kind: Kind::Proton,
        ..ELECTRON
    };
    assert_eq!(array.to_vec().unwrap(), [ELECTRON, changed, ELECTRON]);
}

#[test]
fn opens_elements_that_are_arrays() {
    let array = RawArray::from_slice(&[[[1_u16, 2], [3, 4], [5, 6]]; 2]).unwrap();
    let line = array.numpy_line();
    let Some(seen) = numpy(&format!(
        "a = {line}\nprint(a.shape, a[1, 2])\na[1, 2, 0] = 9"
    )) else {
        return;
    };
    assert_eq!(seen, "(2, 3, 2) [5 6]");
    assert_eq!(array.get(1), [[1, 2], [3, 4], [9, 6]]);
}

#[test]
fn opens_arrays_of_several_axes_in_place() {
    let name = UniqueName::new("numpy-nd");
    let arrays = [
        NdArray::<f64>::zeros(&[2, 3]).unwrap(),
        NdArray::<f64>::create_named(&name, &[2, 3]).unwrap(),
    ];
    for array in &arrays {
        array.set(&[1, 2], 0.5).unwrap();
        let line = array.numpy_line();
        let program =
            format!("a = {line}\nprint(a.shape, a.dtype, a[1, 2])\na[0, 1] = 7.25\na.flush()");
        let Some(seen) = numpy(&program) else { return };
        assert_eq!(seen, "(2, 3) float64 0.5");
        assert_eq!(array.get(&[0, 1]).unwrap(), 7.25);
    }
}

/// Quotes, line breaks, a control character and a byte that is no text: Rust's escapes are not
/// Python's.
#[test]
fn opens_a_file_of_any_name() {
    let directory = std::env::temp_dir().join(format!("mp-numpy-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let name = OsStr::from_bytes(b"\"a\\ '\n\x7f\xc3\xa9\xff.npy");
    let array = NdArray::<u8>::create_file(directory.join(name), &[2]).unwrap();
    array.set(&[1], 7).unwrap();
    let line = array.numpy_line();
    let seen = numpy(&format!("a = {line}\nprint(a[1])"));
    std::fs::remove_dir_all(&directory).unwrap();
    let expected = r#"/\"a\\ '\x0a\x7fé\udcff.npy", mmap_mode="r+")"#;
    assert!(line.ends_with(expected), "{line}");
    assert!(seen.is_none_or(|seen| seen == "7"));
}

#[test]
fn reads_every_type_as_we_write_it() {
    fn seen<T: Plain>(value: T) -> Option<String> {
        let array = NdArray::from_slice(&[1, 1], &[value]).unwrap();
        numpy(&format!(
            "a = {}\nprint(a.dtype, a[0, 0])",
            array.numpy_line()
        ))
    }
    let Some(first) = seen(-1_i8) else { return };
    assert_eq!(first, "int8 -1");
    for (seen, expected) in [
        (seen(1.5_f32), "float32 1.5"),
        (seen(u64::MAX), "uint64 18446744073709551615"),
        (seen(true), "bool True"),
        (seen(Complex::new(1.0_f32, -2.0)), "complex64 (1-2j)"),
        (seen(Complex::new(1.0_f64, -2.0)), "complex128 (1-2j)"),
    ] {
        assert_eq!(seen.unwrap(), expected);
    }
    let particles = NdArray::from_slice(&[1, 2], &[ELECTRON; 2]).unwrap();
    let program = format!(
        "a = {}\nprint(a['at'][0, 1], a['mass'][0, 0])",
        particles.numpy_line()
    );
    assert_eq!(numpy(&program).unwrap(), "[1. 2. 3.] 0.5");
}

#[test]
fn its_files_are_opened_in_place() {
    let name = UniqueName::new("numpy-saved");
    let path = name.path();
    let save = |array: &str| {
        numpy(&format!(
            "numpy.save({path:?}, {array})\nimport os; os.rename({path:?} + '.npy', {path:?})"
        ))
    };
    if save("numpy.arange(6, dtype='i4').reshape(2, 3)").is_none() {
        return;
    }
    let array = NdArray::<i32>::open(&name).unwrap();
    assert_eq!(
        (array.shape(), array.get(&[1, 0]).unwrap()),
        (&[2, 3][..], 3)
    );
    array.set(&[1, 0], -9).unwrap();
    let program = format!("print(numpy.load({path:?})[1, 0])");
    assert_eq!(numpy(&program).unwrap(), "-9");
    drop(array);

    save("numpy.asfortranarray(numpy.arange(6, dtype='f4').reshape(2, 3))").unwrap();
    let reader = NdReader::<f32>::open(&name).unwrap();
    assert!(reader.is_fortran_order());
    assert_eq!(
        (reader.get(&[1, 0]).unwrap(), reader.to_vec()[1]),
        (3.0, 3.0)
    );

    save("numpy.zeros(2, dtype=[('at', '<f8', (3,)), ('mass', '<f4'), ('charge', '<i2'), ('kind', 'u1'), ('alive', '?')])").unwrap();
    let particles = NdArray::<Particle>::open(&name).unwrap();
    assert_eq!(particles.get(&[1]).unwrap().kind, Kind::Electron);

    for (array, word) in [
        ("numpy.zeros(2, dtype='>f8')", "big endian"),
        ("numpy.array([None, {}], dtype=object)", "Python objects"),
        ("numpy.zeros(2, dtype=[('x', '<f8')])", "[('x', '<f8')]"),
    ] {
        save(array).unwrap();
        let error = NdReader::<f64>::open(&name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongType);
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn sees_what_we_write_while_it_runs() {
    let array = NdArray::<u64>::zeros(&[2, 2]).unwrap();
    let wait = "import time\nend = time.monotonic() + 60\nwhile a[0, 0] == 0 and time.monotonic() < end: time.sleep(0.001)";
    let program = format!(
        "a = {}\na[1, 1] = 5\n{wait}\nprint(a[0, 0])",
        array.numpy_line()
    );
    std::thread::scope(|scope| {
        let viewer = scope.spawn(|| numpy(&program));
        // Ends with the viewer if there is no numpy.
        while array.get(&[1, 1]).unwrap() == 0 && !viewer.is_finished() {
            std::thread::yield_now();
        }
        array.set(&[0, 0], 42).unwrap();
        let seen = viewer.join().unwrap();
        assert!(seen.is_none_or(|seen| seen == "42"));
    });
}

/// Draws, marks the first pixel, and ends when the last one is drawn.
const PAUSE: &str = "
import matplotlib.pyplot, time
end = time.monotonic() + 60
def pause(_):
    assert time.monotonic() < end
    matplotlib.pyplot.gcf().canvas.draw()
    drawn = matplotlib.pyplot.gca().images[0].get_array()
    print(drawn[-1, -1])
    picture[0, 0] = 1
    if drawn[-1, -1] != 0: raise SystemExit
matplotlib.pyplot.pause = pause
";

#[test]
fn matplotlib_draws_what_we_write_by_the_program_of_the_page() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/arrays.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, program) = page.split_once("```python\n").expect("a program");
    let (program, _) = program.split_once("```").expect("its end");
    assert!(program.contains("plt.pause("), "{program}");

    let name = UniqueName::new("picture");
    let picture = NdArray::<f32>::create_named(&name, &[1080, 1920]).unwrap();
    let path = format!("/dev/shm/{}", &*name);
    let program = program.replace("/dev/shm/picture.npy", &path);
    assert!(program.contains(&path), "{program}");
    std::thread::scope(|scope| {
        let viewer = scope.spawn(|| matplotlib(&format!("{PAUSE}{program}")));
        // Ends with the viewer if there is no matplotlib.
        while picture.get(&[0, 0]).unwrap() == 0.0 && !viewer.is_finished() {
            std::thread::yield_now();
        }
        picture.set(&[1079, 1919], 0.5).unwrap();
        let drawn = viewer.join().unwrap();
        assert!(
            drawn.is_none_or(|drawn| drawn.starts_with("0.0\n") && drawn.ends_with("\n0.5")),
            "nothing, then what was written"
        );
    });
}

#[test]
fn reads_a_frozen_array_and_cannot_write_it() {
    let frozen = NdArray::from_slice(&[3], &[1_u8, 2, 3])
        .unwrap()
        .freeze()
        .unwrap();
    let line = frozen.numpy_line();
    let path = line.split('"').nth(1).unwrap();
    let write = format!(
        "try:\n  numpy.load({path:?}, mmap_mode='r+')\nexcept (PermissionError, OSError) as e: print(type(e).__name__)"
    );
    let Some(seen) = numpy(&format!("print({line}.sum())\n{write}")) else {
        return;
    };
    assert!(seen.starts_with("6\n") && seen.contains("Error"), "{seen}");
    assert_eq!(frozen[..], [1, 2, 3]);
}
