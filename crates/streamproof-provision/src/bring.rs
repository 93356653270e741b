//! Bringing a server in line with the files: finish what was interrupted, look, plan, apply, and look again.

use crate::apply::{Allow, Applied, apply};
use crate::failure::ProvisionError;
use crate::observe::{observe, refine};
use crate::replace::resume;
use crate::wire::Js;
use std::path::Path;
use streamproof_model::desired::Desired;
use streamproof_model::plan::{Observed, Options, Plan, plan_with_wants};

/// What came of it.
#[derive(Debug, Clone)]
pub struct Brought {
    /// Interrupted replacements that were finished first.
    pub finished: Vec<String>,
    /// The plan that was carried out.
    pub plan: Plan,
    /// What was done.
    pub applied: Applied,
    /// The plan afterwards: where it has pending steps that were not left out, the server changed what it was sent.
    pub after: Plan,
}

/// Looks at a server and makes a plan, with its losses as exact as the server can tell.
///
/// # Errors
/// Where the server does not answer.
pub async fn plan_for(
    js: &Js,
    desired: &Desired,
    options: &Options,
) -> Result<(Plan, Observed), ProvisionError> {
    let mut observed = observe(js).await?;
    let planned = plan_with_wants(desired, &observed, options);
    if planned.wants.is_empty() {
        return Ok((planned.plan, observed));
    }
    refine(js, &mut observed, &planned.wants).await?;
    Ok((plan_with_wants(desired, &observed, options).plan, observed))
}

/// Brings a server in line with the files.
///
/// # Errors
/// Where consent lacks, or the server refuses or does not answer.
pub async fn bring(
    js: &Js,
    desired: &Desired,
    options: &Options,
    allow: &Allow,
    journals: &Path,
) -> Result<Brought, ProvisionError> {
    let finished = resume(js, journals).await?;
    let (plan, observed) = plan_for(js, desired, options).await?;
    if plan.pending == 0 {
        let after = plan.clone();
        return Ok(Brought { finished, plan, applied: Applied::default(), after });
    }
    drop(observed);
    let applied = apply(js, &plan, allow, journals).await?;
    let (after, _) = plan_for(js, desired, options).await?;
    Ok(Brought { finished, plan, applied, after })
}
