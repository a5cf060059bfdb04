"""Waveforms: files, resampling, augmentation, log-mel spectrograms, the synthesizer, progress bars."""
