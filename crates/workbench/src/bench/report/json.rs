//! Every single run, for programs.

use serde_json::{Value, json};

use super::{Circumstances, Measured};
use crate::bench::rounds::{End, Row, Run};

/// Returns the document. `version` changes when the meaning of a field does.
pub(in crate::bench) fn document(circumstances: &Circumstances, measured: &[Measured]) -> Value {
    let machine = &circumstances.machine;
    let tools = circumstances.tools.iter();
    let tools: Vec<Value> = tools
        .map(|(name, version)| json!({ "name": name, "version": version }))
        .collect();
    let scenarios: Vec<Value> = measured
        .iter()
        .map(|one| {
            let rows: Vec<Value> = one.rows.iter().map(row).collect();
            json!({ "name": one.scenario, "tools": rows })
        })
        .collect();
    json!({
        "version": 1,
        "date": machine.date,
        "machine": {
            "cores": machine.cores,
            "processor": machine.processor,
            "kernel": machine.kernel,
            "load": machine.load,
        },
        "network": circumstances.network,
        "registry": circumstances.registry,
        "runs": circumstances.runs,
        "tools": tools,
        "scenarios": scenarios,
    })
}

fn row(row: &Row) -> Value {
    let runs: Vec<Value> = row.runs.iter().map(run).collect();
    let (able, error) = match &row.end {
        None => (true, None),
        Some(End::Unable) => (false, None),
        Some(End::Wrong(error)) => (true, Some(error)),
    };
    json!({ "name": row.tool, "able": able, "error": error, "runs": runs })
}

fn run(run: &Run) -> Value {
    json!({
        "wallMicroseconds": run.cost.wall,
        "processorMicroseconds": run.cost.processor,
        "peakBytes": run.cost.memory,
        "source": run.source,
        "destination": run.destination,
    })
}
