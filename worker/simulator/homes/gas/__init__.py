"""What gas homes know: days and billed periods, made up or recorded, and how GRDF shows them today."""
