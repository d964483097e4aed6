/*
 * sqlstate.h - what a server's SQLSTATE means as an error code. Pure; any thread.
 */
#ifndef VIGIA_STORE_PG_SQLSTATE_H
#define VIGIA_STORE_PG_SQLSTATE_H

/* EIO for what is not known. */
int vigia__pg_code_of(const char *sqlstate);

#endif
