"""All that is known of artefacts, gathered for a report: what files hold, what pictures and measurements show."""
