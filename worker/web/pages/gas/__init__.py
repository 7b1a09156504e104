"""What the page of a gas account alone has: the details of a day, the billed periods, the contract."""
