"""Documents as their readers get them: public fields, columns of CSV, JSON Schemas."""
