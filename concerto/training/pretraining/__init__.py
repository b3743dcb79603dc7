"""What Concerto is pretrained by: objective, schedules and task."""
