"""What measured lines cost: the cost that decides, in which devices and at what price, and how far it would move."""
