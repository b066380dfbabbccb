//! What the derive says of a type: its fields, which bytes are a value, and which types are the
//! same.

use mp_layout::{Plain, PlainSlice, TypeTag, bytes_of, value_of};

#[derive(Clone, Copy, Debug, PartialEq, Plain)]
#[repr(u8)]
enum Team {
    Red = 1,
    Blue = 200,
}

#[derive(Clone, Copy, Debug, PartialEq, Plain)]
#[repr(i16)]
enum Step {
    Back = -1,
    Stay = 0,
}

#[derive(Clone, Copy, Debug, PartialEq, Plain)]
#[repr(C)]
struct Unit {
    at: [f32; 2],
    letter: char,
    step: Step,
    team: Team,
    alive: bool,
}

const UNIT: Unit = Unit {
    at: [0.5, -1.0],
    letter: 'é',
    step: Step::Back,
    team: Team::Blue,
    alive: true,
};

#[test]
fn the_text_has_every_field() {
    assert_eq!(
        Unit::LAYOUT.to_string(),
        "plain::Unit { at: [f32; 2], letter: char, step: plain::Step { Back = -1, Stay = 0 }, \
         team: plain::Team { Red = 1, Blue = 200 }, alive: bool }"
    );
    assert_eq!((Unit::LAYOUT.size(), Unit::LAYOUT.align()), (16, 4));
}

#[test]
fn bytes_are_a_value_if_every_field_is_one() {
    let bytes = bytes_of(&UNIT).to_vec();
    assert_eq!(value_of::<Unit>(&bytes), Some(UNIT));
    // Offset, byte to write there, whether that is a `Unit`.
    let damages = [
        (0, 0xff, true),
        (10, 0x11, false),
        (9, 0xd8, false),
        (12, 0, false),
        (14, 1, true),
        (14, 0, false),
        (14, 201, false),
        (15, 0, true),
        (15, 2, false),
    ];
    for (offset, byte, is_unit) in damages {
        let mut damaged = bytes.clone();
        damaged[offset] = byte;
        assert_eq!(
            value_of::<Unit>(&damaged).is_some(),
            is_unit,
            "{offset}: {byte}"
        );
    }
    assert_eq!(value_of::<Unit>(&bytes[1..]), None, "too short");
    assert_eq!(
        value_of::<[Team; 2]>(&[1, 200]),
        Some([Team::Red, Team::Blue])
    );
    assert_eq!(value_of::<[Team; 2]>(&[1, 2]), None);
    assert_eq!(value_of::<Step>(&[0xff, 0xff]), Some(Step::Back));
    assert_eq!(value_of::<Step>(&[0xff, 0x7f]), None);
}

#[test]
fn a_structure_of_numbers_takes_any_bytes() {
    #[derive(Clone, Copy, Debug, PartialEq, Plain)]
    #[repr(C, packed)]
    struct Packed(u8, u64, [i16; 2]);

    fn any<T: PlainSlice>() -> bool {
        T::LAYOUT.takes_any_bytes()
    }
    assert!(any::<Packed>());
    assert!(!Unit::LAYOUT.takes_any_bytes());
    assert_eq!(mp_layout::zeroed::<Packed>(), Packed(0, 0, [0; 2]));
    let bytes: Vec<u8> = (1..14).collect();
    let packed: Packed = value_of(&bytes).unwrap();
    assert_eq!((packed.0, bytes_of(&packed)), (1, &bytes[..]));
    assert_eq!(value_of::<()>(&[]), Some(()));
}

/// Structures of one path, as several builds of one program have it: a path does not name the block
/// that a type is in.
#[test]
fn each_difference_is_another_type() {
    macro_rules! builds {
        ($($(#[$repr:meta])* {$($field:ident: $type:ty),*})*) => {
            [$({
                #[derive(Clone, Copy, Plain)]
                $(#[$repr])*
                #[allow(dead_code, reason = "what matters is that they are there")]
                struct Job { $($field: $type),* }
                (Job::LAYOUT, TypeTag::of::<Job>())
            }),*]
        };
    }
    let builds = builds! {
        #[repr(C)] {a: u32, b: u32}
        #[repr(C)] {a: f32, b: u32}
        #[repr(C)] {a: i32, b: u32}
        #[repr(C)] {b: u32, a: u32}
        #[repr(C)] {a: u32, c: u32}
        #[repr(C)] {a: [u32; 2]}
        #[repr(C)] {a: [u32; 1], b: u32}
        #[repr(C)] {a: u64}
        #[repr(C)] {a: [u16; 4]}
        #[repr(C)] {a: (), b: u64}
        #[repr(C, packed)] {a: u32, b: u32}
        #[repr(C, align(8))] {a: u32, b: u32}
        #[repr(C)] {a: u32, b: bool, c: [u8; 3]}
        #[repr(C)] {a: u32, b: Team, c: [u8; 3]}
    };
    for (left, (layout, tag)) in builds.iter().enumerate() {
        assert_eq!(layout.size(), 8);
        assert!(layout.to_string().starts_with("plain::Job {"), "{layout}");
        for (right, (_, other)) in builds.iter().enumerate() {
            assert_eq!(tag.accepts(*other), left == right, "{left} and {right}");
        }
    }
}
