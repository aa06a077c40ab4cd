# Install rules and the package that find_package(Hostloom) reads. Written by the packaging part.
