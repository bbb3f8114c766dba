"""Who is who: tokens and their issuers, employees, departments, leaders and roles, as mirrored and as given here."""
