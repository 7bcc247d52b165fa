//! Parameters: values that are taken once, in the plan's own snapshot, shown and approved.

use crate::api::status::ParameterStatus;
use crate::engine::model::Model;
use sqlx::{AssertSqlSafe, PgConnection};

/// Takes the values of all parameters that have none yet, and puts them into the model.
pub(super) async fn take(connection: &mut PgConnection, model: &mut Model) -> Result<Vec<ParameterStatus>, sqlx::Error> {
    let mut taken = Vec::with_capacity(model.parameters.len());
    for parameter in &mut model.parameters {
        if !parameter.taken {
            let sql = format!("SELECT ({}::{})::text", parameter.expression.in_parentheses(), parameter.type_name);
            parameter.value = sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false).fetch_one(&mut *connection).await?;
            parameter.taken = true;
        }
        let type_name = parameter.type_name.trim().to_owned();
        taken.push(ParameterStatus { name: parameter.name.clone(), type_name, value: parameter.value.clone() });
    }
    Ok(taken)
}
