/* What the maker of an instrument ships: plain C, handles that are opened and closed, a read that blocks. (Make-believe: the readings
 * come from meter_feed(), where a real one would have a cable.) */
#ifndef METER_H
#define METER_H

typedef struct meter meter;
enum { METER_OK, METER_CANCELLED };

meter *meter_open(void);                      /* NULL: there is no memory */
int meter_read(meter *handle, double *value); /* blocks until there is a reading, or meter_cancel() */
void meter_cancel(meter *handle);             /* brings back those who are reading, now and from now on */
void meter_close(meter *handle);              /* frees the handle: nobody may be using it, now or later */

void meter_feed(meter *handle, double value);
int meter_readers(meter *handle); /* how many are inside meter_read() */
int meter_handles(void);          /* how many are open */

#endif
