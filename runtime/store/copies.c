/*
 * copies.c - finds other copies of this library in the process.
 *
 * It cannot rely on symbols: a static or hidden copy exports none. But the loader lists the program headers of all
 * loaded objects, and an ELF note is found through them. Our note leads to the number of open files.
 */
#include <elf.h>
#include <link.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../core/error.h"
#include "copies.h"

/* What the note leads to. Other versions read it, so the layout must not change. */
struct copy {
	_Atomic uint32_t open_files;
	char version[28];
};

__attribute__((used, visibility("hidden"))) struct copy vigia__copy = {.version = VIGIA_VERSION};

#define NOTE_NAME "Vigia"
enum { NOTE_TYPE = 1 };

/* The content is the distance from there to vigia__copy, so that the loader need not relocate it. */
__asm__(".pushsection .note.vigia, \"a\", %note\n"
        "\t.balign 4\n"
        "\t.long 6, 8, 1\n" /* lengths of name and content, and NOTE_TYPE */
        "\t.asciz \"" NOTE_NAME "\"\n"
        "\t.balign 4\n"
        "0:\t.quad vigia__copy - 0b\n"
        ".popsection\n");

struct search {
	const struct copy *other;    /* another copy that has files open */
	char ours[256], others[256]; /* the paths they were loaded from */
};

/* The program itself has no name in the loader's list. */
static void name_put(char out[256], const char *name)
{
	if (name[0]) {
		snprintf(out, 256, "%s", name);
		return;
	}
	ssize_t len = readlink("/proc/self/exe", out, 255);
	snprintf(out + (len > 0 ? len : 0), 256 - (size_t)(len > 0 ? len : 0), "%s", len > 0 ? "" : "the program");
}

/* The copy that a Vigia note leads to. NULL: another kind of note. */
static struct copy *copy_of(const ElfW(Nhdr) * note, const char *name, const char *content)
{
	int64_t distance;
	if (note->n_type != NOTE_TYPE || note->n_namesz != sizeof NOTE_NAME || note->n_descsz != sizeof distance ||
	    memcmp(name, NOTE_NAME, sizeof NOTE_NAME) != 0)
		return NULL;
	memcpy(&distance, content, sizeof distance);
	return (struct copy *)((uintptr_t)content + (uintptr_t)distance);
}

static int look_at_object(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct search *search = arg;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &info->dlpi_phdr[i];
		if (header->p_type != PT_NOTE) continue;
		const char *at = (const char *)(uintptr_t)(info->dlpi_addr + header->p_vaddr);
		const char *end = at + header->p_memsz;
		size_t align = header->p_align == 8 ? 8 : 4;
		while ((size_t)(end - at) >= sizeof(ElfW(Nhdr))) {
			ElfW(Nhdr) note;
			memcpy(&note, at, sizeof note);
			const char *name = at + sizeof note;
			size_t content_at = (sizeof note + note.n_namesz + align - 1) & ~(align - 1);
			size_t next_at = (content_at + note.n_descsz + align - 1) & ~(align - 1);
			if (next_at > (size_t)(end - at)) break;
			struct copy *copy = copy_of(&note, name, at + content_at);
			if (copy == &vigia__copy) {
				name_put(search->ours, info->dlpi_name);
			} else if (copy && atomic_load(&copy->open_files) > 0) {
				search->other = copy;
				name_put(search->others, info->dlpi_name);
			}
			at += next_at;
		}
	}
	return 0;
}

int vigia__copies_enter(struct vigia_error *err)
{
	/* Count ours first, then search: of two concurrent calls at least one sees the other. */
	atomic_fetch_add(&vigia__copy.open_files, 1);
	struct search search = {0};
	dl_iterate_phdr(look_at_object, &search);
	if (search.other == NULL) return VIGIA_OK;
	vigia__copies_leave();
	return vigia__error(err, VIGIA_ETWICE,
	                    "this process has a second copy of the library, which has a store open: %.200s (%.27s) beside "
	                    "%.200s (%s); link both with libvigia.so, so that they share one",
	                    search.others, search.other->version, search.ours, VIGIA_VERSION);
}

void vigia__copies_forked(void)
{
	atomic_store(&vigia__copy.open_files, 0);
}

void vigia__copies_leave(void)
{
	atomic_fetch_sub(&vigia__copy.open_files, 1);
}
