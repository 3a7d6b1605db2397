#include "base/attr.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void attr_free(void *pointer_to_pointer)
{
	free(*(void **)pointer_to_pointer);
}

void attr_close(int *fd)
{
	if (*fd >= 0) {
		close(*fd);
	}
}

void attr_fclose(void *pointer_to_file)
{
	FILE *file = *(FILE **)pointer_to_file;
	if (file) {
		fclose(file);
	}
}
