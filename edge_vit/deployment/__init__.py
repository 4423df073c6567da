"""From a request to verified files: prepare, lower, verify, agree, publish."""
