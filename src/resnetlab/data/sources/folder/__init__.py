"""A folder of images as a data source. None of the modules imports torch.

Start with `scan`. `walk`, `tree` and `layout` find the class of each file, and `labels_csv` reads
tables of labels. `manifest`, `grouping` and `splits` divide the images, and `cache` keeps the
decoded ones. `problems` and `notes` write the sentences for the user.
"""
