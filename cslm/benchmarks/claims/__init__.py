"""The claims of the methods, shown on the village: arms side by side, every figure computed again from its rows."""
