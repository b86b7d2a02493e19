#include "client/http_error.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdbool.h>

/* The connection could not be made, or broke. */
static bool explain_connection(struct sbx_error *e, int code, const char *host)
{
	const char *what;

	switch (code) {
	case CURLE_COULDNT_RESOLVE_HOST:
		what = "there is no such host; check the name and the network";
		break;
	case CURLE_COULDNT_CONNECT:
		what = "cannot connect; check that the service runs there and "
		       "that the port is right";
		break;
	case CURLE_OPERATION_TIMEDOUT:
		what = "no answer in time; check the address, the network and "
		       "the service";
		break;
	case CURLE_GOT_NOTHING:
	case CURLE_RECV_ERROR:
	case CURLE_SEND_ERROR:
	case CURLE_PARTIAL_FILE:
		what = "the connection broke in the middle of the answer";
		break;
	default:
		return false;
	}
	sbx_error_set(e, -ETIMEDOUT, "%s: %s", host, what);
	e->retry = SBX_RETRY_CONNECTION;
	return true;
}

void sbx_http_explain(struct sbx_error *e, int code, const char *host,
		      const char *reason)
{
	if (explain_connection(e, code, host))
		return;
	switch (code) {
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CIPHER:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_ISSUER_ERROR:
		sbx_error_set(e, -EPROTO,
			      "%s: no trusted TLS connection (%.100s); check "
			      "the address, the clock and the certificates",
			      host, reason);
		break;
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_WEIRD_SERVER_REPLY:
	case CURLE_BAD_CONTENT_ENCODING:
		sbx_error_set(e, -EPROTO,
			      "%s: what answers there does not speak HTTP; "
			      "check the address and the port",
			      host);
		break;
	case CURLE_OUT_OF_MEMORY:
		sbx_error_set(e, -ENOMEM, "out of memory");
		e->retry = SBX_RETRY_LATER;
		break;
	default:
		sbx_error_set(e, -EIO, "%s: %.120s", host,
			      reason[0] ? reason
					: curl_easy_strerror((CURLcode)code));
		e->retry = SBX_RETRY_CONNECTION;
		break;
	}
}
