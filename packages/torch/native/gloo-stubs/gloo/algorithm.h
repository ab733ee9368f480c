// Stands in for Gloo's header, which libtorch's wheels leave out: see ../README.md.
#pragma once
