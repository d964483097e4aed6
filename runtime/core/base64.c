/*
 * base64.c - bytes as text that JSON can hold (RFC 4648, with padding).
 */
#include "base64.h"

static const char digits_of[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

int vigia__base64_encode(struct vigia__buf *buf, const char *data, size_t len)
{
	const uint8_t *in = (const uint8_t *)data;
	if (len > SIZE_MAX / 2 || vigia__buf_reserve(buf, (len + 2) / 3 * 4) != 0) return -1;
	uint8_t *out = buf->data + buf->len;
	for (size_t i = 0; i < len; i += 3) {
		size_t n = len - i;
		uint32_t bits = (uint32_t)in[i] << 16 | (uint32_t)(n > 1 ? in[i + 1] : 0) << 8 | (n > 2 ? in[i + 2] : 0);
		*out++ = (uint8_t)digits_of[bits >> 18];
		*out++ = (uint8_t)digits_of[bits >> 12 & 63];
		*out++ = n > 1 ? (uint8_t)digits_of[bits >> 6 & 63] : '=';
		*out++ = n > 2 ? (uint8_t)digits_of[bits & 63] : '=';
	}
	buf->len = (size_t)(out - buf->data);
	return 0;
}

static int digit_value(char c)
{
	if (c >= 'A' && c <= 'Z') return c - 'A';
	if (c >= 'a' && c <= 'z') return c - 'a' + 26;
	if (c >= '0' && c <= '9') return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool vigia__base64_decode(const char *in, size_t len, uint8_t *out, size_t *out_len)
{
	if (len % 4 != 0) return false;
	size_t pad = len == 0 || in[len - 1] != '=' ? 0 : in[len - 2] != '=' ? 1 : 2, n = 0;
	for (size_t i = 0; i < len; i += 4) {
		size_t digits = i + 4 == len ? 4 - pad : 4;
		uint32_t bits = 0;
		for (size_t j = 0; j < 4; j++) {
			int digit = j < digits ? digit_value(in[i + j]) : 0;
			if (digit < 0) return false;
			bits = bits << 6 | (uint32_t)digit;
		}
		if ((digits == 2 && bits & 0xffff) || (digits == 3 && bits & 0xff)) return false;
		for (size_t j = 0; j + 1 < digits; j++, n++)
			if (out) out[n] = (uint8_t)(bits >> (16 - 8 * j));
	}
	*out_len = n;
	return true;
}
