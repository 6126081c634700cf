"""What Croissant says of a built dataset: origin, the table of records, the record sets."""
