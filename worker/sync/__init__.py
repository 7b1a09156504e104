"""Windows: which are due, their claims, their four steps, results, incidents, repair and audit."""
