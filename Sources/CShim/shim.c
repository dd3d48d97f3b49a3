// The package manager wants one translation unit; everything is in the header.
#include "CShim.h"
