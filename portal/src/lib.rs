//! A stand-in Bitrix24 portal.
