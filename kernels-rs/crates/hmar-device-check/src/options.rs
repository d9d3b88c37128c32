//! The command line.

use std::path::PathBuf;

/// How to call it.
pub const USAGE: &str = "\
hmar-device-check parity|goldens|faults|bench|compare|all [options]

  --device N          GPU number (0)
  --out FILE          where the results go, as JSON; parts that are in it already are not run again
  --fixtures FOLDER   the repository's root, with fixtures/ and packages/shapes/ (.)
  --only TEXT,TEXT    only parts whose name contains one of these
  --untimed           no times in `parity`
  --seconds N         start no further part after so many seconds
  --models A,B        of `bench` and `compare`: d16, d20, d24, d30, or with a resolution, d24@512 (d16,d30)
  --batches A,B       of `bench` and `compare` (1,8,64)
  --decode N          of `bench`: pictures that are decoded together
";

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// `parity`, `goldens`, `faults`, `bench`, `compare` or `all`; `self` checks the runner and needs no GPU.
    pub command: String,
    /// GPU number.
    pub device: usize,
    /// Where the results go.
    pub out: Option<PathBuf>,
    /// The repository's root.
    pub fixtures: PathBuf,
    /// Parts of names.
    pub only: Vec<String>,
    /// Measure times in `parity`.
    pub timed: bool,
    /// Start nothing after this.
    pub seconds: f64,
    /// Models of `bench` and `compare`.
    pub models: Vec<String>,
    /// Batches of them.
    pub batches: Vec<usize>,
    /// Pictures that `bench` decodes together.
    pub decode: Option<usize>,
    /// Run parts from this one on in this very process, one line of JSON each.
    pub child_from: Option<usize>,
    /// The arguments, to start a child with.
    pub arguments: Vec<String>,
}

impl Options {
    /// Reads the command line; `Err` says what is wrong with it.
    pub fn read(arguments: Vec<String>) -> Result<Self, String> {
        let mut options = Options {
            command: String::new(),
            device: 0,
            out: None,
            fixtures: ".".into(),
            only: Vec::new(),
            timed: true,
            seconds: f64::INFINITY,
            models: vec!["d16".into(), "d30".into()],
            batches: vec![1, 8, 64],
            decode: None,
            child_from: None,
            arguments: arguments.clone(),
        };
        let mut rest = arguments.into_iter();
        while let Some(argument) = rest.next() {
            let mut value = || rest.next().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--device" => options.device = number(&value()?)?,
                "--out" => options.out = Some(value()?.into()),
                "--fixtures" => options.fixtures = value()?.into(),
                "--only" => options.only = list(&value()?),
                "--untimed" => options.timed = false,
                "--seconds" => options.seconds = number::<u32>(&value()?)?.into(),
                "--models" => options.models = list(&value()?),
                "--batches" => {
                    options.batches =
                        list(&value()?).iter().map(|text| number(text)).collect::<Result<_, _>>()?;
                }
                "--decode" => options.decode = Some(number(&value()?)?),
                "--child-from" => options.child_from = Some(number(&value()?)?),
                "parity" | "goldens" | "faults" | "bench" | "compare" | "all" | "self" => {
                    options.command = argument
                }
                other => return Err(format!("unknown argument {other}")),
            }
        }
        if options.command.is_empty() { Err("nothing to do".into()) } else { Ok(options) }
    }

    /// Whether a part is wanted.
    pub fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|text| name.contains(text.as_str()))
    }
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::to_owned).collect()
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text} is not a number it can be"))
}
