//! The words against a model: random claims by the living and the dead, in several lengths.

use core::num::NonZeroU64;
use std::process::{Child, Command, Stdio};

use proptest::prelude::*;

use super::*;

const LEN: usize = 24;
/// The chunk lengths of a case; 24 elements in chunks of 1 need all words.
const LENGTHS: [usize; 4] = [1, 4, 5, 24];

/// Processes whose identities the model uses: some live until the test ends, the others are dead.
struct Cast {
    all: Vec<ProcessIdentity>,
    living: Vec<Child>,
}

impl Cast {
    fn new() -> Self {
        let spawn = || {
            Command::new("cat")
                .stdin(Stdio::piped())
                .spawn()
                .expect("cat waits for its input")
        };
        let children: Vec<Child> = (0..4).map(|_| spawn()).collect();
        let identify = |child: &Child| ProcessIdentity::of(child.id()).unwrap().unwrap();
        let all = children.iter().map(identify).collect();
        let mut living = children;
        for mut dead in living.split_off(2) {
            dead.kill().unwrap();
            dead.wait().unwrap();
        }
        Self { all, living }
    }

    fn is_dead(&self, who: usize) -> bool {
        who >= self.living.len()
    }
}

impl Drop for Cast {
    fn drop(&mut self) {
        for child in &mut self.living {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

/// What the words should say: for each element who has it, and in which length chunks are counted.
#[derive(Default)]
struct Model {
    chunk_len: usize,
    owners: [Option<usize>; LEN],
}

impl Model {
    fn range(chunk_len: usize, index: usize) -> Range<usize> {
        index * chunk_len..((index + 1) * chunk_len).min(LEN)
    }

    fn has_living(&self, cast: &Cast) -> bool {
        self.owners.iter().flatten().any(|who| !cast.is_dead(*who))
    }

    /// Whether chunks of `chunk_len` can be had now; dead claims grow to the chunks they touch.
    fn repartition(&mut self, chunk_len: usize, cast: &Cast) -> bool {
        if self.chunk_len == chunk_len {
            return true;
        }
        if self.has_living(cast) {
            return false;
        }
        self.chunk_len = chunk_len;
        for index in 0..LEN.div_ceil(chunk_len) {
            let range = Self::range(chunk_len, index);
            // The later of two dead claims names the chunk.
            let dead = self.owners[range.clone()].iter().flatten().last().copied();
            self.owners[range].fill(dead);
        }
        true
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Claim {
        who: usize,
        length: usize,
        index: usize,
    },
    Release {
        index: usize,
    },
    Sweep {
        length: usize,
    },
    Whole,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let claim = (0..4_usize, 0..LENGTHS.len(), 0..LEN)
        .prop_map(|(who, length, index)| Step::Claim { who, length, index });
    let step = prop_oneof![
        4 => claim,
        3 => (0..LEN).prop_map(|index| Step::Release { index }),
        1 => (0..LENGTHS.len()).prop_map(|length| Step::Sweep { length }),
        1 => Just(Step::Whole),
    ];
    prop::collection::vec(step, 0..40)
}

fn run(steps: &[Step], cast: &Cast) {
    let chunk_len = AtomicU64::new(0);
    let words: Vec<OwnerWord> = (0..LEN).map(|_| OwnerWord::free()).collect();
    let partition = Partition {
        chunk_len: &chunk_len,
        words: &words,
        len: LEN,
    };
    let mut model = Model::default();
    for step in steps {
        match *step {
            Step::Claim { who, length, index } => {
                let chunk_len = LENGTHS[length];
                let index = index % LEN.div_ceil(chunk_len);
                let attempt = partition.claim(chunk_len, index, cast.all[who]);
                if !model.repartition(chunk_len, cast) {
                    assert_eq!(attempt.unwrap_err().kind(), ErrorKind::Claimed);
                    continue;
                }
                let range = Model::range(chunk_len, index);
                let expected = match model.owners[range.start] {
                    None => Attempt::Fresh,
                    Some(owner) if owner == who || !cast.is_dead(owner) => {
                        Attempt::Taken(cast.all[owner])
                    }
                    Some(dead) => Attempt::Inherited(cast.all[dead]),
                };
                assert_eq!(attempt.unwrap(), expected);
                if !matches!(expected, Attempt::Taken(_)) {
                    model.owners[range].fill(Some(who));
                }
            }
            Step::Release { index } => {
                if model.chunk_len == 0 || index >= LEN.div_ceil(model.chunk_len) {
                    continue;
                }
                let range = Model::range(model.chunk_len, index);
                if let Some(who) = model.owners[range.start].filter(|who| !cast.is_dead(*who)) {
                    partition.release(index, cast.all[who]);
                    model.owners[range].fill(None);
                }
            }
            Step::Sweep { length } => {
                let swept = partition.sweep(LENGTHS[length]);
                if !model.repartition(LENGTHS[length], cast) {
                    assert_eq!(swept.unwrap_err().kind(), ErrorKind::Claimed);
                    continue;
                }
                let mut expected = Vec::new();
                for index in 0..LEN.div_ceil(LENGTHS[length]) {
                    let range = Model::range(LENGTHS[length], index);
                    if let Some(dead) = model.owners[range.start].filter(|w| cast.is_dead(*w)) {
                        expected.push((index, cast.all[dead]));
                        model.owners[range].fill(None);
                    }
                }
                assert_eq!(swept.unwrap(), expected);
            }
            Step::Whole => match partition.join().unwrap() {
                Whole::Free(dead) => {
                    assert!(!model.has_living(cast), "a living process had a chunk");
                    let expected = model
                        .owners
                        .iter()
                        .flatten()
                        .next()
                        .map(|who| cast.all[*who]);
                    assert_eq!(dead, expected);
                    if dead.is_none() {
                        model.chunk_len = 0;
                    }
                }
                Whole::Claimed(claim) => {
                    let range = Model::range(model.chunk_len, claim.index);
                    let owner = model.owners[range.start].expect("it is claimed");
                    assert_eq!((cast.all[owner], cast.is_dead(owner)), (claim.owner, false));
                    assert!(partition.has(claim));
                }
            },
        }
    }
}

#[test]
fn behaves_as_the_model() {
    let cast = Cast::new();
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(400)
    };
    proptest!(config, |(steps in steps())| run(&steps, &cast));
}

#[test]
fn words_that_name_no_process_are_corrupt() {
    let (chunk_len, words) = (AtomicU64::new(1), [OwnerWord::free()]);
    words[0].set(NonZeroU64::new(1 << 22));
    let partition = Partition {
        chunk_len: &chunk_len,
        words: &words,
        len: 1,
    };
    let me = owner::this_process().unwrap();
    for error in [
        partition.claim(1, 0, me).unwrap_err(),
        partition.join().unwrap_err(),
        partition.sweep(1).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
    chunk_len.store(u64::MAX, Ordering::Relaxed);
    words[0].set(Some(me.into()));
    let claim = LivingClaim {
        index: 0,
        owner: me,
    };
    assert_eq!(partition.join().unwrap(), Whole::Claimed(claim));
    assert_eq!(partition.claimed("reach", claim).kind(), ErrorKind::Claimed);
}
