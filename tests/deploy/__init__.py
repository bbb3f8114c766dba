"""What an operator deploys: an installed copy without a checkout, and files that name only what exists."""
